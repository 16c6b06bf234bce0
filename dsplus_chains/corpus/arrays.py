"""Batches as other libraries hand them over, in Arrow, pandas or numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from dsplus_chains.schema import InvalidInputError, what_came

KINDS = "a table or record batch of Arrow, a data frame of pandas, or a dict of arrays"


def columns_in(batch: Any) -> list[str]:
    """The names of a batch's columns.

    Args:
        batch: A table or record batch of Arrow, a data frame of pandas, or a dict of arrays.

    Raises:
        InvalidInputError: It is none of them.

    Example:
        >>> columns_in({"id": [1, 2], "text": ["a", "b"]})
        ['id', 'text']
    """
    if _is_arrow(batch):
        return list(batch.schema.names)
    if isinstance(batch, Mapping):
        return list(batch)
    if _is_frame(batch):
        return list(batch.columns)
    msg = f"Got a batch that is {what_came(batch)} but expected {KINDS}"
    raise InvalidInputError(msg)


def cells_of(batch: Any, column: str) -> list[Any]:
    """The cells of one of its columns."""
    if _is_arrow(batch):
        return list(batch.column(column).to_pylist())
    return list(batch[column])


def with_columns(batch: Any, columns: Mapping[str, Sequence[Any]], *, examples: Mapping[str, Sequence[Any]]) -> Any:
    """The same batch, of the same kind, with more columns. What it has stays as it is.

    Args:
        batch: The batch.
        columns: The new columns. None is a gap.
        examples: Some values of each new column, which tell its type. So a batch with nothing but gaps, or without any
            row, has the types of all others.

    Example:
        >>> with_columns({"id": [1, 2]}, {"score": [0.5, None]}, examples={"score": [0.5]})
        {'id': [1, 2], 'score': array([0.5, nan])}
    """
    if _is_arrow(batch):
        return _with_arrow_columns(batch, columns, examples)
    arrays = {name: _array(cells, examples[name]) for name, cells in columns.items()}
    return batch.assign(**arrays) if _is_frame(batch) else {**batch, **arrays}


def _with_arrow_columns(batch: Any, columns: Mapping[str, Sequence[Any]], examples: Mapping[str, Sequence[Any]]) -> Any:
    array = import_module("pyarrow").array
    for name, cells in columns.items():
        batch = batch.append_column(name, array(cells, type=array(examples[name]).type))
    return batch


def _array(cells: Sequence[Any], examples: Sequence[Any]) -> Any:
    """Cells as an array of numpy. It knows a gap in floats alone, so other cells stay objects."""
    if isinstance(examples[0], float):
        return np.array(cells, dtype=float)
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _is_arrow(batch: Any) -> bool:
    return hasattr(batch, "schema") and hasattr(batch, "column") and hasattr(batch, "num_rows")


def _is_frame(batch: Any) -> bool:
    return hasattr(batch, "assign") and hasattr(batch, "columns")
