"""Reads labels from the cells of a table, which have no reliable types, and finds empty cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dsplus_chains.schema.labels import label_key


def label_reader(known: Sequence[Any]) -> Callable[[Any], Any]:
    """A function that turns a cell into the known label with the same spelling, or into None.

    Example:
        >>> read = label_reader([7, 71])
        >>> read("71"), read(" 7 "), read("71.0"), read(7), read("007"), read(True)
        (71, 7, 71, 7, None, None)
    """
    exact = {label_key(label): label for label in known}
    written = {str(label).lower() if isinstance(label, bool) else str(label): label for label in known}
    booleans = isinstance(known[0], bool)

    def read(cell: Any) -> Any:
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)  # a column with gaps holds integers as floats
        if not isinstance(cell, (str, int)):
            return None
        if label_key(cell) in exact or not isinstance(cell, str):
            return exact.get(label_key(cell))
        text = cell.strip().lower() if booleans else cell.strip()
        return written.get(text, written.get(text.removesuffix(".0")) if isinstance(known[0], int) else None)

    return read


def is_missing(value: Any) -> bool:
    """Whether a cell is empty. That is None, NaN, or a text of white space alone.

    Example:
        >>> [is_missing(value) for value in (None, float("nan"), " ", 0, "no")]
        [True, True, True, False, False]
    """
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124  NaN
