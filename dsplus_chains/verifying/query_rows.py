"""Rows of a query: the ones that are expected, whether they are the same as others, and whether their order counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from dsplus_chains.schema import InvalidInputError, what_came

QueryRow: TypeAlias = tuple[Any, ...]

_NO_CODE = re.compile(
    r"""--[^\n]* | /\*.*?(?:\*/|\Z) | '[^']*+(?:'|\Z) | "[^"]*+(?:"|\Z) | `[^`]*+(?:`|\Z) | \[[^\]]*+(?:\]|\Z)""",
    re.DOTALL | re.VERBOSE,
)
"""Comments, texts and quoted names of a query."""
_PLACES = re.compile(r"[()]|\border\s+by\b", re.IGNORECASE)


def rows_of(given: Any) -> list[QueryRow]:
    """Expected rows, as SQLite would give them. NaN is NULL.

    Args:
        given: A list or an array of rows, each a list, a tuple or an array of cells.

    Raises:
        InvalidInputError: It is something else, such as a list of cells.

    Example:
        >>> rows_of([[1, "a"], (2.5, None)])
        [(1, 'a'), (2.5, None)]
    """
    rows = list(given) if _is_listed(given) else [given]
    if wrong := [row for row in rows if not _is_listed(row)]:
        msg = (
            f"Got {what_came(wrong[0])} among the expected rows but expected a list of rows, each a list of cells, "
            "such as [[1, 'a'], [2, 'b']], or a query that gives them"
        )
        raise InvalidInputError(msg)
    return [tuple(map(_plain, row)) for row in rows]


def are_same_rows(some: Sequence[QueryRow], others: Sequence[QueryRow], *, ordered: bool) -> bool:
    """Whether two results are the same. Integers are compared exactly, and other numbers by their first nine digits.

    Args:
        some: Rows.
        others: Other rows.
        ordered: Whether their order counts.

    Example:
        >>> are_same_rows([(1,), (2,)], [(2.0,), (1.0,)], ordered=False)
        True
        >>> are_same_rows([(1700000001,)], [(1700000002,)], ordered=True)
        False
    """
    if not ordered:
        some, others = sorted(some, key=_rank), sorted(others, key=_rank)
    return len(some) == len(others) and all(map(_are_alike, some, others))


def has_order(query: str) -> bool:
    """Whether a query has an ``ORDER BY`` for its rows. One of a part, a window or a comment is none.

    Example:
        >>> has_order("SELECT s FROM t ORDER BY n"), has_order("SELECT rank() OVER (ORDER BY n) FROM t -- order by s")
        (True, False)
    """
    depth = 0
    for found in _PLACES.finditer(_NO_CODE.sub(" ", query)):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0 and found[0] not in "()":
            return True
    return False


def _is_listed(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict)) and not hasattr(value, "columns")


def _plain(cell: Any) -> Any:
    if getattr(cell, "ndim", None) == 0:  # NumPy's own number
        cell = cell.item()
    if isinstance(cell, Decimal):
        cell = float(cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _are_alike(row: QueryRow, other: QueryRow) -> bool:
    return len(row) == len(other) and all(map(_is_alike, row, other))


def _is_alike(cell: Any, other: Any) -> bool:
    if isinstance(cell, (int, float)) and isinstance(other, (int, float)):
        both_exact = isinstance(cell, int) and isinstance(other, int)
        return cell == other if both_exact else _digits(cell) == _digits(other)
    return bool(cell == other)


def _rank(row: QueryRow) -> tuple[list[tuple[str, str]], list[float]]:
    """Where a row stands among others: rows that are alike stand at the same place."""
    told = [
        ("", _digits(cell)) if isinstance(cell, (int, float)) else (type(cell).__name__, repr(cell)) for cell in row
    ]
    return told, [cell for cell in row if isinstance(cell, (int, float))]


def _digits(number: float) -> str:
    return f"{number:.9g}"
