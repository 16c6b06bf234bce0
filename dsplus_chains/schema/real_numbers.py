"""Whether a setting is a number at all, and within its bounds."""

from __future__ import annotations

from math import inf
from numbers import Real
from typing import Any, cast


def is_number(value: Any, *, least: float = -inf, most: float = inf) -> bool:
    """Whether a value is a number of these bounds. A truth value, a text and NaN are none, and NumPy's numbers are.

    Args:
        value: Any value.
        least: The smallest number that is allowed.
        most: The largest one.

    Example:
        >>> is_number(3, least=0), is_number(True), is_number("3"), is_number(float("nan")), is_number(-1, least=0)
        (True, False, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and least <= cast("float", value) <= most
