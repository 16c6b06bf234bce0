"""How scored rows of a table are answered: by a live large model, row by row or in batches, or by logged answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from dsplus_chains.corpus.answered import AnsweredRow
from dsplus_chains.corpus.journal import replies_of
from dsplus_chains.corpus.scored import Batch, Scored, ScoredBatches, outputs_of
from dsplus_chains.corpus.shared_arm import SharedArm
from dsplus_chains.corpus.two_stages import Pipeline
from dsplus_chains.evaluation.recorded import read_recorded
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.limits import Limits
from dsplus_chains.running.outage import is_callers_bug
from dsplus_chains.running.progress import BATCH_SIZE
from dsplus_chains.running.whole_arm import WholeArm
from dsplus_chains.schema import WiringError, as_cell, describe_error
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.task import LabelTask

_Done: TypeAlias = tuple[Batch, list[Any]]
AT_ONCE = 4
"""As many batches may be under way that are asked about whole, since a job may take hours."""
Answered: TypeAlias = Generator[_Done, None, None]
"""Batches with the records of their rows, as they are done. A row that has no answer has an exception."""


def answered_live(
    bundle: Bundle, large_model: Any, scored: ScoredBatches, *, limits: Limits, concurrency: int | None
) -> Answered:
    """Answer batches by the chain of a bundle. One is scored while others are asked about.

    Args:
        bundle: A tuned bundle.
        large_model: A chat model.
        scored: The batches.
        limits: How long and how patiently the large model is asked.
        concurrency: Most requests to it at the same time, over all batches. None: 100.
    """
    chain = bundle.chain(large_model, deadline=limits.deadline, budget=limits.budget)
    pipeline = Pipeline[Scored, _Done]()
    arm = SharedArm(large_of(chain), limits=limits, concurrency=concurrency, tell=pipeline.tell)
    try:
        gate = gate_before(arm, chain)
        yield from _answered(gate, scored, pipeline, has_room=arm.has_room, config={"max_concurrency": concurrency})
    finally:
        arm.close()


def answered_whole(
    bundle: Bundle,
    large_model: Any,
    scored: ScoredBatches,
    *,
    limits: Limits,
    concurrency: int | None,
    in_jobs: bool,
) -> Answered:
    """Answer batches by the chain of a bundle. The deferred rows of each are one batch: a job, or a few groups.

    Args:
        bundle: A tuned bundle.
        large_model: A chat model.
        scored: The batches.
        limits: Those of the large model. Of these, only the breaker counts here.
        concurrency: Most requests to it at the same time, over all batches. None: 100 a batch.
        in_jobs: Whether a batch is a job. An open breaker refuses no job.
    """
    gate = whole_gate(bundle.chain(large_model), breaker=limits.breaker, refuses=not in_jobs)
    at_once = AT_ONCE if concurrency is None else min(AT_ONCE, concurrency)
    config: RunnableConfig = {} if concurrency is None else {"max_concurrency": concurrency // at_once}
    yield from _answered(gate, scored, Pipeline(), has_room=lambda under_way: under_way < at_once, config=config)


def answered_from_log(bundle: Bundle, column: str, scored: ScoredBatches) -> Answered:
    """Answer batches by what a large model has answered earlier.

    Args:
        bundle: A tuned bundle.
        column: The column with the logged answers.
        scored: The batches.

    Raises:
        Exception: A row could not be scored.
    """
    with closing(scored):
        for rows, outputs in scored:
            if failed := [output for output in outputs if isinstance(output, Exception)]:
                raise failed[0]
            cells = [as_cell(row.cells.get(column)) for row in rows]
            numbers = [row.index + 1 for row in rows]
            answers = read_recorded(cells, bundle.task.parser, where=f"column {column!r}", numbers=numbers)
            yield rows, bundle.replay(outputs, answers, return_exceptions=True)


def large_of(chain: Any) -> Runnable[Any, Any]:
    """The arm of a chain that asks its large model."""
    large: Runnable[Any, Any] = chain.steps[1].large
    return large


def gate_before(arm: Runnable[Any, Any], chain: Any) -> Runnable[Any, Any]:
    """What follows the scorer in a chain, with another arm, which all batches share."""
    _, branch, *rest = chain.steps
    gate: Any = branch.model_copy(update={"large": arm, "wants": "record", "ask_once": True})
    return reduce(or_, rest, gate)


def rows_at_once(task: LabelTask) -> int:
    """Number of rows in a batch that a live model is asked about. Groups are made within one, so they need more."""
    return BATCH_SIZE * task.group


def whole_gate(chain: Any, *, breaker: CircuitBreaker | None, refuses: bool = True) -> Runnable[Any, Any]:
    """What follows the scorer in a chain. The deferred rows of a batch stay one batch. See `WholeArm`."""
    return gate_before(WholeArm(run=large_of(chain), breaker=breaker, refuses=refuses), chain)


def records_of(gate: Runnable[Any, Any], outputs: list[Any], config: RunnableConfig) -> list[Any]:
    """The answered records of a batch that was scored. A row that could not be scored keeps its exception."""
    known = [output for output in outputs if not isinstance(output, Exception)]
    records = iter(outputs_of(gate, known, config))
    return [each if isinstance(each, Exception) else next(records) for each in outputs]


def answered_row(row: int, record: Any) -> AnsweredRow:
    """What is kept of a record. A row that neither model has answered has the source "error".

    Args:
        row: Index of the row.
        record: The record, or an exception.

    Raises:
        Exception: It is a bug in your own code behind the large model.
    """
    if isinstance(record, Exception):
        if isinstance(record, WiringError) or is_callers_bug(record):
            raise record
        return AnsweredRow(row=row, answer=None, source="error", confidence=None, error=describe_error(record))
    return AnsweredRow(
        row=row,
        answer=record["answer"],
        source=record["source"],
        confidence=record["prediction"].confidence,
        error=record.get("error"),
    )


def _answered(
    gate: Runnable[Any, Any],
    scored: ScoredBatches,
    pipeline: Pipeline[Scored, _Done],
    *,
    has_room: Callable[[int], bool],
    config: RunnableConfig,
) -> Answered:
    """Put scored batches through a gate whose arm all of them share."""

    def answer(scored: Scored) -> _Done:
        with replies_of(scored.rows[0].index):
            return scored.rows, records_of(gate, scored.outputs, config)

    with closing(scored):
        yield from pipeline.run(scored, second=answer, has_room=has_room)
