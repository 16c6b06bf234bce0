"""The rows of a table that a run has still to answer, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from dsplus_chains.encoding.modality import Modality
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.table import Column, Table


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row that is still to be answered.

    Args:
        index: Its index in the input.
        text: Its text or image.
        cells: All its cells.
    """

    index: int
    text: str
    cells: Row


def pending_rows(table: Table, column: Column, indices: Iterable[int], modality: Modality) -> Iterator[PendingRow]:
    """The rows with these indices, which only rise. No more than one of them is held.

    Args:
        table: The table.
        column: The column with the texts, or with the paths of images. Two columns hold pairs of texts.
        indices: The indices of the rows.
        modality: What is read.
    """
    rows = enumerate(table.rows)
    for wanted in indices:
        cells = next(cells for index, cells in rows if index == wanted)
        yield PendingRow(wanted, table.text_of(wanted + 1, cells, column, empty="keep", modality=modality), cells)


def in_batches_of(size: int, rows: Iterator[PendingRow]) -> Iterator[list[PendingRow]]:
    """The same rows in batches of a size. The last one may be smaller."""
    while batch := list(islice(rows, size)):
        yield batch
