"""How `dsplus tune` asks: which ways are tried, what a live model answers in the chosen one, and within what budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

from dsplus_chains.cli._console import BATCH_SIZE, CONCURRENCY, in_batches, progress_bar
from dsplus_chains.cli._large import answer_of

if TYPE_CHECKING:
    from dsplus_chains.bundle import Bundle
    from dsplus_chains.tuning.hint_search import HintMode, HintSearch

AUTO = "auto"
EXEMPLARS = 4
"""How many solved examples are tried, where nobody says how many."""
SET_COVERAGE = 0.95
"""How often the true label is to be among those that hard hints leave."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways to ask that are tried.

    Args:
        hints: The hint modes.
        exemplars: The numbers of solved examples.
    """

    hints: tuple[HintMode, ...]
    exemplars: tuple[int, ...]

    @property
    def only(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.hints) * len(self.exemplars) == 1


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a live large model answered.

    Args:
        bundle: The bundle with the way in which it was asked.
        search: How that way was found.
        answers: The large model's, one a row; None where it failed or was not asked.
        confidences: How sure it was, where its provider tells.
        asked: How many rows it was asked about: those of which the small model is least sure.
    """

    bundle: Bundle
    search: HintSearch
    answers: list[Any]
    confidences: list[float | None]
    asked: int


def ways_to_ask(bundle: Bundle, hints: str | None, exemplars: str | None, *, live: bool) -> Ways:
    """What the options `--hints` and `--exemplars` ask for; what the bundle has, where they are not given.

    Args:
        bundle: The bundle.
        hints: A mode, or "auto".
        exemplars: A number, or "auto".
        live: Whether there is a large model to be asked.

    Raises:
        ValueError: No number, nothing to ask, or no examples to show.
    """
    for option, value in (("--hints", hints), ("--exemplars", exemplars)):
        if value == AUTO and not live:
            msg = (
                f"Got {option} auto with --large-column but expected --large: logged answers all came from one way to "
                "ask, so others cannot be tried"
            )
            raise ValueError(msg)
    modes: dict[str | None, tuple[HintMode, ...]] = {
        None: (bundle.hints,), "none": ("none",), "soft": ("soft",), "hard": ("hard",), AUTO: ("none", "soft", "hard")
    }  # fmt: skip
    counts: tuple[int, ...] = (bundle.exemplars,)
    if exemplars == AUTO:
        counts = (0,) if bundle.examples is None else (0, EXEMPLARS)
    elif exemplars is not None:
        if not exemplars.isdecimal():
            msg = f"Got --exemplars {exemplars} but expected a number such as 4, or auto"
            raise ValueError(msg)
        counts = (int(exemplars),)
    if any(counts) and bundle.examples is None:
        msg = f"Got --exemplars {exemplars} but the bundle holds no examples; fit it anew, without --no-examples"
        raise ValueError(msg)
    return Ways(hints=modes[hints], exemplars=counts)


def set_coverage_of(bundle: Bundle) -> float | None:
    """What labels are pruned to, where they are."""
    prunes = bundle.hints == "hard" and len(bundle.scorer.labels) > bundle.top_k and bundle.strong_labels is None
    return SET_COVERAGE if prunes else None


def ask_live(
    bundle: Bundle,
    model: Any,
    texts: Sequence[str],
    labels: Sequence[Any],
    ways: Ways,
    *,
    fusion: Any,
    max_rows: int,
    max_tokens: int | None,
    quiet: bool,
) -> Answered:
    """Choose the way to ask on the least sure rows, then ask about the others in that way, as far as the budget goes.

    Args:
        bundle: The bundle.
        model: The large model.
        texts: The tuning rows.
        labels: Their labels.
        ways: The ways to try.
        fusion: Whose word may be the last.
        max_rows: As many rows are asked about in each way.
        max_tokens: As many tokens are spent in all.
        quiet: No progress bars.

    Raises:
        DSPlusError: The large model answered nothing, or the budget allows nothing.
    """
    from dsplus_chains.tuning.hints import tune_hints

    scored = in_batches(bundle.scorer, texts, "Scoring", quiet=quiet)
    with progress_bar(quiet=quiet) as progress:
        progress.add_task("Asking about what the small model is least sure of", total=None)
        search = tune_hints(
            bundle.scorer,
            model,
            scored,
            labels,
            instruction=bundle.instruction,
            hints=ways.hints,
            exemplars=ways.exemplars,
            examples=bundle.examples,
            fusion=fusion,
            max_rows=max_rows,
            max_tokens=max_tokens,
            set_coverage=SET_COVERAGE,
            descriptions=bundle.descriptions,
            aliases=bundle.aliases,
            top_k=bundle.top_k,
            strong_labels=bundle.strong_labels,
            structured=bundle.structured,
            retries=bundle.retries,
            reask=bundle.reask,
            config={"max_concurrency": CONCURRENCY},
        )
    best, left = search.best, None
    if max_tokens is not None:  # a model that does not tell its tokens cannot be held to a budget any further
        left = 0 if search.tokens is None else max_tokens - search.tokens
    chosen = replace(bundle, hints=best.hints, exemplars=best.exemplars)
    # Labels are pruned by a level from the rows asked so far; the threshold will find the one for the rows it defers.
    everything = chosen.chain(model, threshold=None, fusion=None, set_level=best.set_level)
    found = _ask(everything, texts, search.others, left=left, a_row=best.tokens_a_row or 1, quiet=quiet)
    answers, confidences = search.large_answers, search.large_confidences
    for row, record in found.items():
        answers[row], confidences[row] = answer_of(record), record["large"].confidence
    return Answered(
        bundle=chosen,
        search=search,
        answers=answers,
        confidences=confidences,
        asked=len(search.rows) + len(found),
    )


def _ask(
    chain: Runnable[Any, Any],
    texts: Sequence[str],
    rows: list[int],
    *,
    left: int | None,
    a_row: float,
    quiet: bool,
) -> dict[int, dict[str, Any]]:
    """The records of the rows, batch by batch, as far as the tokens that are left go."""
    found: dict[int, dict[str, Any]] = {}
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task("Asking the large model", total=len(rows))
        while len(found) < len(rows):
            size = BATCH_SIZE if left is None else min(BATCH_SIZE, int(left // a_row))
            if size < 1:
                break
            batch = rows[len(found) : len(found) + size]
            records = chain.batch([texts[row] for row in batch], {"max_concurrency": CONCURRENCY})
            found.update(zip(batch, records, strict=True))
            progress.advance(task, len(batch))
            if left is not None:
                told = [record["large"].usage for record in records]
                left -= sum(usage["total_tokens"] for usage in told if usage is not None)
    return found
