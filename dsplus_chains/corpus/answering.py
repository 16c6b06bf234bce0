"""How the pending rows of a table are answered: by a live large model, in jobs of one, or by its logged answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from dsplus_chains.corpus.job_arm import AT_ONCE, JobArm
from dsplus_chains.corpus.journal import replies_of
from dsplus_chains.corpus.pending_rows import PendingRow
from dsplus_chains.corpus.shared_arm import SharedArm
from dsplus_chains.corpus.two_stages import Pipeline
from dsplus_chains.evaluation.recorded import read_recorded
from dsplus_chains.running.flow import Ask
from dsplus_chains.running.limits import Limits
from dsplus_chains.schema import as_cell
from dsplus_chains.storage.bundle import Bundle

Batch: TypeAlias = Sequence[PendingRow]
_Done: TypeAlias = tuple[Batch, list[Any]]
Answered: TypeAlias = Generator[_Done, None, None]
"""Batches with the records of their rows, as they are done. A row that has no answer has an exception."""


class _Scored(NamedTuple):
    rows: Batch
    outputs: list[Any]
    """The small model's record of each row, or an exception."""


def answered_live(
    bundle: Bundle, large_model: Any, batches: Iterable[Batch], *, limits: Limits, concurrency: int | None
) -> Answered:
    """Answer batches by the chain of a bundle. One is scored while others are asked about.

    Args:
        bundle: A tuned bundle.
        large_model: A chat model.
        batches: The batches.
        limits: How long and how patiently the large model is asked.
        concurrency: Most requests to it at the same time, over all batches. None: 100.
    """
    chain = bundle.chain(large_model, deadline=limits.deadline, budget=limits.budget)
    pipeline = Pipeline[_Scored, _Done]()
    arm = SharedArm(_large_of(chain), limits=limits, concurrency=concurrency, tell=pipeline.tell)
    try:
        yield from _answered(
            chain, arm, batches, pipeline, has_room=arm.has_room, config={"max_concurrency": concurrency}
        )
    finally:
        arm.close()


def answered_in_jobs(bundle: Bundle, large_model: Any, batches: Iterable[Batch], *, limits: Limits) -> Answered:
    """Answer batches by the chain of a bundle. The deferred rows of each are one job.

    Args:
        bundle: A tuned bundle.
        large_model: A `BatchChatOpenAI`.
        batches: The batches.
        limits: Those of the large model. Of these, only the breaker counts here.
    """
    chain = bundle.chain(large_model)
    arm = JobArm(run=_large_of(chain), breaker=limits.breaker)
    yield from _answered(chain, arm, batches, Pipeline(), has_room=lambda under_way: under_way < AT_ONCE, config={})


def _large_of(chain: Any) -> Runnable[Any, Any]:
    large: Runnable[Any, Any] = chain.steps[1].large
    return large


def _answered(
    chain: Any,
    arm: Runnable[Any, Any],
    batches: Iterable[Batch],
    pipeline: Pipeline[_Scored, _Done],
    *,
    has_room: Callable[[int], bool],
    config: RunnableConfig,
) -> Iterator[_Done]:
    """Score batches one by one, and ask an arm that all share about what is deferred."""
    scorer, branch, *rest = chain.steps
    branch = branch.model_copy(update={"large": arm, "wants": "record", "ask_once": True})
    gate: Any = reduce(or_, rest, branch)

    def answer(scored: _Scored) -> _Done:
        known = [output for output in scored.outputs if not isinstance(output, Exception)]
        with replies_of(scored.rows[0].index):
            records = iter(_asked(gate, known, config))
        return scored.rows, [each if isinstance(each, Exception) else next(records) for each in scored.outputs]

    first = (_Scored(rows, _asked(scorer, [row.text for row in rows], config)) for rows in batches)
    return pipeline.run(first, second=answer, has_room=has_room)


def answered_from_log(bundle: Bundle, column: str, batches: Iterable[Batch]) -> Answered:
    """Answer batches by what a large model has answered earlier.

    Args:
        bundle: A tuned bundle.
        column: The column with the logged answers.
        batches: The batches.
    """
    scorer = bundle.scorer.deferring()
    for rows in batches:
        scored = scorer.batch([row.text for row in rows])
        cells = [as_cell(row.cells.get(column)) for row in rows]
        numbers = [row.index + 1 for row in rows]
        answers = read_recorded(cells, bundle.task.parser, where=f"column {column!r}", numbers=numbers)
        yield rows, bundle.replay(scored, answers, return_exceptions=True)


def _asked(run: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig) -> list[Any]:
    return Ask(run, inputs, [config] * len(inputs)).call().outputs
