"""Ask a live large model about tuning rows within a budget. It chooses how to ask, and about which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.running.limits import Limits
from dsplus_chains.running.progress import BATCH_SIZE, Progress, in_batches
from dsplus_chains.schema import Label, LargeModelError, answer_of_large
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.fused import FusionMode
from dsplus_chains.tuning.hint_checks import rows_to_ask
from dsplus_chains.tuning.hint_search import HintSearch
from dsplus_chains.tuning.hint_tuning import tune_hints
from dsplus_chains.tuning.trial import branch_of

SET_COVERAGE = 0.95
"""How often the true label must be among those that hard hints leave."""

MAX_UNREAD = 0.5
"""The largest share of the rows asked about that may stay without a label."""


@dataclass(frozen=True, kw_only=True)
class LiveAnswers:
    """What a live large model answered.

    Args:
        task: The task with the way in which it was asked.
        search: How that way was found.
        answers: The large model's answers, one a row. None where it failed or was not asked.
        confidences: How sure it was, where its provider tells.
        asked: Number of rows it was asked about. They are those of which the small model is least sure.
    """

    task: LabelTask
    search: HintSearch
    answers: list[Any]
    confidences: list[float | None]
    asked: int


def ask_live(
    scorer: Runnable[Any, Any],
    model: Any,
    texts: Sequence[Any],
    labels: Sequence[Label],
    *,
    task: LabelTask,
    hints: Sequence[HintMode],
    exemplars: Sequence[int],
    groups: Sequence[int] | None = None,
    fusion: FusionMode = "auto",
    max_rows: int | None = None,
    max_tokens: int | None = None,
    model_name: str | None = None,
    config: RunnableConfig | None = None,
    limits: Limits | None = None,
    batch_size: int = BATCH_SIZE,
    side_by_side: bool = False,
    max_silent: float = 0.05,
    progress: Progress | None = None,
) -> LiveAnswers:
    """Choose the way to ask on the least sure rows. Then ask about the others in that way, within the budget.

    Args:
        scorer: The small model, not trained on these rows.
        model: The large model.
        texts: The tuning rows.
        labels: Their labels.
        task: What is asked and how the answers are read.
        hints: The hint modes to try.
        exemplars: The numbers of solved examples to try.
        groups: The most rows in one prompt to try. None: as the task says.
        fusion: Whose word may be the last.
        max_rows: At most this many rows are asked about in each way. None: as `tune_hints` says.
        max_tokens: At most this many tokens are spent in all.
        model_name: Name of the large model, for its price. None: no price is told.
        config: LangChain's config of the calls, such as `max_concurrency`.
        limits: How long and how patiently the large model is asked. None: with a breaker, and without a time limit.
        batch_size: Number of the other rows that are asked about at once.
        side_by_side: Whether all ways are asked at the same time. See `tune_hints`.
        max_silent: The largest share of the rows asked about that may stay without a reply.
        progress: Told how far the work is.

    Raises:
        LargeModelError: Too many rows stayed without a reply, or most of the replies are no labels.
        DSPlusError: The budget allows nothing.
    """
    limits = limits or Limits()
    scored = in_batches(scorer, texts, title="Scoring", progress=progress)
    max_rows = rows_to_ask(max_rows, groups)
    if progress is not None:
        progress("Asking about what the small model is least sure of", 0, min(max_rows, len(scored)))
    search = tune_hints(
        scorer,
        model,
        scored,
        labels,
        task=task,
        hints=hints,
        exemplars=exemplars,
        groups=groups,
        fusion=fusion,
        max_rows=max_rows,
        max_tokens=max_tokens,
        set_coverage=SET_COVERAGE,
        model_name=model_name,
        config=config,
        limits=limits,
        side_by_side=side_by_side,
    )
    best, left = search.best, None
    if max_tokens is not None:  # a model that does not tell its tokens cannot be held to a budget, so it gets no more
        left = 0 if search.tokens is None else max_tokens - search.tokens
    # The level that prunes labels comes from the rows asked so far. Tuning the threshold will find its own level.
    chosen = task.replace(hints=best.hints, exemplars=best.exemplars, group=best.group, set_level=best.set_level)
    branch = branch_of(chosen.for_scorer(scorer).arm(model), group=best.group, limits=limits)
    rows = search.others
    found = _ask(
        branch,
        [scored[row] for row in rows],
        left=left,
        a_row=best.tokens_a_row or 1,
        config=config,
        limits=limits,
        batch_size=batch_size,
        progress=progress,
    )
    answers, confidences = search.large_answers, search.large_confidences
    for row, record in zip(rows, found, strict=False):
        answers[row], confidences[row] = answer_of_large(record), record["large"].confidence
    asked = len(search.rows) + len(found)
    silent = best.silent + sum(record["large"].value is None for record in found)
    unread = asked - sum(answer is not None for answer in answers)
    if silent > max_silent * asked or unread > MAX_UNREAD * asked:
        first = best.error or next(record["error"] for record in found if "error" in record)
        msg = (
            f"The large model left {silent} of {asked} rows without a reply, and {unread} without a label; the first "
            f"failure was {first}. A threshold from the rest would be a guess, so see to the model first"
        )
        raise LargeModelError(msg)
    return LiveAnswers(
        task=chosen.replace(set_level=task.set_level),
        search=search,
        answers=answers,
        confidences=confidences,
        asked=asked,
    )


def _ask(
    branch: Runnable[Any, Any],
    scored: list[Any],
    *,
    left: int | None,
    a_row: float,
    config: RunnableConfig | None,
    limits: Limits,
    batch_size: int,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """The records of the rows, batch by batch, until the tokens that are left are used."""
    found: list[dict[str, Any]] = []
    while len(found) < len(scored):
        size = batch_size if left is None else min(batch_size, int(left // a_row))
        if size < 1:
            break
        records = branch.batch(scored[len(found) : len(found) + size], config)
        limits.check()
        found += records
        if progress is not None:
            progress("Asking the large model", len(found), len(scored))
        if left is not None:
            told = [record["large"].usage for record in records]
            left -= sum(usage["total_tokens"] for usage in told if usage is not None)
    return found
