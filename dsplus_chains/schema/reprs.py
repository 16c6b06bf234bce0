"""How objects show themselves: with names and shapes, in some lines, and without keys and passwords."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from typing import Any, TypeVar

from dsplus_chains.schema.secrets import HIDDEN, hide_secrets, is_secret
from dsplus_chains.schema.wording import shorten, shown

MOST = 8
"""Most items of a list or an object that are shown."""
LONGEST = 400
"""Most characters of one item."""

Kind = TypeVar("Kind", bound=type)


class Shown:
    """A value whose `repr` is its brief text."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        """The brief text."""
        return brief(self._value)


def brief(value: Any, levels: int = 3) -> str:
    """A value for people. Arrays are shown by their shapes, and long lists by their beginning and size.

    Example:
        >>> import numpy as np
        >>> brief([np.zeros((3, 4)), (1,)]), brief(list(range(1000)))
        ('[<float64 array of shape (3, 4)>, (1,)]', '[0, 1, 2, 3, 4, 5, 6, 7, … 1,000 in all]')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        sizes, kind = tuple(array.shape), str(array.dtype).removeprefix("torch.")
        return f"<{kind} array of shape {sizes}>" if sizes else repr(value)
    if isinstance(value, str):
        return shown(hide_secrets(value[:LONGEST]))
    if isinstance(value, Mapping):
        pairs = ((key, HIDDEN if is_secret(key, one) else one) for key, one in islice(value.items(), MOST))
        return _listed((f"{brief(key, 0)}: {brief(one, levels - 1)}" for key, one in pairs), "{}", len(value), levels)
    if type(value) in (list, tuple, set, frozenset):
        signs = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        text = _listed((brief(one, levels - 1) for one in islice(value, MOST)), signs, len(value), levels)
        return f"{text[:-1]},)" if type(value) is tuple and len(value) == 1 else text
    return shorten(hide_secrets(repr(value)), LONGEST)


def brief_repr(kind: Kind) -> Kind:
    """A decorator for a dataclass, whose `repr` then shows its fields briefly."""

    def text(self: Any) -> str:
        named = (f"{field.name}={brief(getattr(self, field.name))}" for field in fields(self) if field.repr)
        return f"{type(self).__name__}({', '.join(named)})"

    kind.__repr__ = text  # type: ignore[assignment]
    return kind


def brief_args(named: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str | None, Any]]:
    """What pydantic's `__repr_args__` yields, in a brief form."""
    for name, value in named:
        yield name, Shown(HIDDEN if isinstance(value, str) and is_secret(name, value) else value)


def _listed(shown_items: Iterable[str], signs: str, n: int, levels: int) -> str:
    if n and not levels:
        return f"{signs[0]}{HIDDEN}{signs[1]}"
    more = f", … {n:,} in all" if n > MOST else ""
    return f"{signs[0]}{', '.join(shown_items)}{more}{signs[1]}"
