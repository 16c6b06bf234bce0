"""Batches of a table that the small model has scored."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from dsplus_chains.corpus.pending_rows import PendingRow
from dsplus_chains.running.flow import Ask
from dsplus_chains.storage.bundle import Bundle

Batch: TypeAlias = Sequence[PendingRow]


class Scored(NamedTuple):
    """A batch, and what the small model says of it."""

    rows: Batch
    outputs: list[Any]
    """The small model's record of each row, or an exception."""


ScoredBatches: TypeAlias = Generator[Scored, None, None]
"""Batches as they are scored, in any order. The next one is asked for when there is room."""


def scored_here(bundle: Bundle, batches: Iterable[Batch]) -> ScoredBatches:
    """Score batches in this process, one by one.

    Args:
        bundle: The bundle with the small model.
        batches: The batches.
    """
    scorer = bundle.scorer.deferring()
    for rows in batches:
        yield Scored(rows, outputs_of(scorer, [row.text for row in rows]))


def outputs_of(run: Runnable[Any, Any], inputs: list[Any], config: RunnableConfig | None = None) -> list[Any]:
    """What a Runnable makes of a batch. A row that fails has its exception."""
    return Ask(run, inputs, [config or {}] * len(inputs)).call().outputs
