"""Reads the cells of tables, data frames and arrays, which have no reliable types and leave gaps."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from dsplus_chains.schema.labels import as_label, label_key

_GAPS = frozenset({"NAType", "NaTType", "MaskedConstant"})
"""Types by which pandas and numpy mark a gap. They are known by name, so neither has to be imported."""

_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of characters that leave no mark: control and format characters, and white space."""


def is_missing(value: Any) -> bool:
    """Whether a cell is empty. This is the one rule for it, wherever values of a user are read.

    Empty are None, NaN of any kind of number, a date that is none, what pandas, numpy and pyarrow call a gap, and a
    text without a visible character.

    Example:
        >>> import numpy as np
        >>> [is_missing(value) for value in (None, float("nan"), np.datetime64("NaT"), np.ma.masked, " ", 0, "no")]
        [True, True, True, True, True, False, False]
    """
    value = _from_arrow(value)
    if isinstance(value, str):
        return all(unicodedata.category(character) in _UNSEEN for character in value.strip())
    if value is None or type(value).__name__ in _GAPS:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    # Only NaN is not equal to itself. An object of another kind may compare as it likes.
    is_number = isinstance(value, (float, complex)) or getattr(value, "shape", None) == ()
    return is_number and bool(value != value)  # noqa: PLR0124


def as_cell(value: Any) -> Any:
    """A cell as a plain value. It is None if the cell is empty, and an integer if the cell is a whole number.

    A column of integers with a gap holds floats, so 5.0 is 5. No label is a float.

    Example:
        >>> as_cell(5.0), as_cell(float("nan")), as_cell(" spam"), as_cell(0.5)
        (5, None, ' spam', 0.5)
    """
    value = _from_arrow(value)
    if is_missing(value):
        return None
    if getattr(value, "shape", ()) == ():  # as_label refuses an array
        value = as_label(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 20 and value == int(value):
        return int(value)
    return value


def label_reader(known: Sequence[Any]) -> Callable[[Any], Any]:
    """A function that turns a cell into the known label with the same spelling, or into None.

    White space around a cell, and the way in which Unicode composes a letter, are no part of its spelling.

    Example:
        >>> read = label_reader([7, 71])
        >>> read("71"), read(" 7 "), read("71.0"), read(7), read("007"), read(True)
        (71, 7, 71, 7, None, None)
    """
    booleans, integers = isinstance(known[0], bool), type(known[0]) is int

    def spelled(value: Any) -> str:
        text = spelling(str(value))
        return text.lower() if booleans else text

    exact = {label_key(label): label for label in known}
    written: dict[str, Any] = {}
    for label in known:
        # A spelling that two labels share tells neither.
        written[spelled(label)] = None if spelled(label) in written else label

    def read(cell: Any) -> Any:
        cell = as_cell(cell)
        if not isinstance(cell, (str, int, float)):
            return None
        if (key := label_key(cell)) in exact:
            return exact[key]
        text = spelled(cell)
        return written.get(text, written.get(text.removesuffix(".0")) if integers else None)

    return read


def spelling(text: str) -> str:
    r"""A label's text without white space around it, in Unicode's composed form.

    Example:
        >>> spelling(" cafe\u0301 ")
        'café'
    """
    return unicodedata.normalize("NFC", text.strip())


def _from_arrow(value: Any) -> Any:
    """A scalar of pyarrow as a plain value. Anything else passes unchanged."""
    return value.as_py() if hasattr(value, "as_py") else value
