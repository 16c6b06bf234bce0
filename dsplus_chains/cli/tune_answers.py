"""What a large model answers to the tuning rows: a model that is asked, or one whose answers were logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsplus_chains.cli.console import CONCURRENCY
from dsplus_chains.running.limits import Limits
from dsplus_chains.running.progress import BATCH_SIZE, Progress, in_batches

if TYPE_CHECKING:
    from dsplus_chains.cli.ways import Ways
    from dsplus_chains.gating.replaying import RecordedAnswer
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.task import LabelTask
    from dsplus_chains.tuning.hint_search import HintSearch


@dataclass(frozen=True, kw_only=True)
class TuningAnswers:
    """What both models say of the tuning rows.

    Args:
        task: How the large model is asked.
        predictions: What the small model says, one a row.
        answers: What the large model says, one a row. None where it failed or was not asked.
        confidences: How sure it was, where its provider tells. None if it was not asked now.
        asked: Number of rows that it was asked about.
        search: How the way to ask was found. None if it was not asked now.
    """

    task: LabelTask
    predictions: Sequence[Any]
    answers: list[Any]
    confidences: list[float | None] | None
    asked: int
    search: HintSearch | None


def logged_answers(
    bundle: Bundle, texts: Sequence[Any], recorded: Sequence[RecordedAnswer], *, ways: Ways, progress: Progress
) -> TuningAnswers:
    """What a large model has answered earlier, beside what the small one says now.

    Args:
        bundle: The bundle.
        texts: The tuning rows.
        recorded: What the large model answered, one a row.
        ways: The one way in which the chain will ask.
        progress: Told how far the work is.
    """
    scored = in_batches(bundle.scorer, texts, title="Scoring", progress=progress)
    return TuningAnswers(
        task=bundle.task.replace(**ways.first),
        predictions=[record["prediction"] for record in scored],
        answers=[answer.value for answer in recorded],
        confidences=None,
        asked=len(texts),
        search=None,
    )


def live_answers(
    bundle: Bundle,
    model: Any,
    texts: Sequence[Any],
    labels: Sequence[Any],
    *,
    ways: Ways,
    timeout: float,
    in_jobs: bool,
    **settings: Any,
) -> TuningAnswers:
    """Ask a large model.

    Args:
        bundle: The bundle.
        model: The large model.
        texts: The tuning rows.
        labels: Their labels.
        ways: The ways to ask.
        timeout: Seconds that it has for one row.
        in_jobs: Whether it takes many rows at once, as `BatchChatOpenAI` does. Then no row has a time limit.
        **settings: Other arguments of `ask_live`.

    Raises:
        DSPlusError: What `ask_live` raises.
    """
    from dsplus_chains.corpus.job_lines import ROWS
    from dsplus_chains.tuning.live import ask_live

    live = ask_live(
        bundle.scorer,
        model,
        texts,
        labels,
        task=bundle.task,
        hints=ways.hints,
        exemplars=ways.exemplars,
        groups=ways.groups,
        config={"max_concurrency": CONCURRENCY},
        limits=Limits(breaker=None) if in_jobs else Limits(timeout=timeout),
        batch_size=ROWS if in_jobs else BATCH_SIZE,
        side_by_side=in_jobs,
        **settings,
    )
    return TuningAnswers(
        task=live.task,
        predictions=live.search.predictions,
        answers=live.answers,
        confidences=live.confidences,
        asked=live.asked,
        search=live.search,
    )
