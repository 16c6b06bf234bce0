"""How the pending rows of a table are answered: by a live large model, or by logged answers of one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

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
Answered: TypeAlias = Generator[tuple[Batch, list[Any]], None, None]
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
    chain: Any = bundle.chain(large_model, deadline=limits.deadline, budget=limits.budget)
    scorer, branch, *rest = chain.steps
    pipeline = Pipeline[_Scored, tuple[Batch, list[Any]]]()
    arm = SharedArm(branch.large, limits=limits, concurrency=concurrency, tell=pipeline.tell)
    branch = branch.model_copy(update={"large": arm, "wants": "record", "ask_once": True})
    gate: Any = reduce(or_, rest, branch)
    config: RunnableConfig = {"max_concurrency": concurrency}

    def answer(scored: _Scored) -> tuple[Batch, list[Any]]:
        known = [output for output in scored.outputs if not isinstance(output, Exception)]
        with replies_of(scored.rows[0].index):
            records = iter(_asked(gate, known, config))
        return scored.rows, [each if isinstance(each, Exception) else next(records) for each in scored.outputs]

    first = (_Scored(rows, _asked(scorer, [row.text for row in rows], config)) for rows in batches)
    try:
        yield from pipeline.run(first, second=answer, has_room=arm.has_room)
    finally:
        arm.close()


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
