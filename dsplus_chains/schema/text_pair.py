"""`TextPair` is two texts as one input, such as a question and a document."""

from __future__ import annotations

import re
from typing import Any

from typing_extensions import override

from dsplus_chains.schema.errors import InvalidInputError
from dsplus_chains.schema.fences import fence
from dsplus_chains.schema.wording import what_came

_FORM = re.compile(
    r"<(?P<one>first(?:-\d+)?)>\n(?P<first>.*?)\n</(?P=one)>\n<(?P<two>second(?:-\d+)?)>\n(?P<second>.*)\n</(?P=two)>",
    re.DOTALL,
)


class TextPair(str):
    """Two texts as one.

    It is a string, in which each text has a fence of its own. So it can be put into a prompt, a file or a log as any
    other text. `as_pair` reads it back.

    Args:
        first: The first text, such as a question.
        second: The second text, such as a document.

    Example:
        >>> pair = TextPair("Where is it?", "It is here.")
        >>> pair.first, pair.second
        ('Where is it?', 'It is here.')
        >>> print(pair)
        <first>
        Where is it?
        </first>
        <second>
        It is here.
        </second>
    """

    first: str
    second: str

    def __new__(cls, first: str, second: str) -> TextPair:
        """The pair, from its two texts."""
        pair = super().__new__(cls, f"{fence(first, tag='first')}\n{fence(second, tag='second')}")
        pair.first, pair.second = str(first), str(second)
        return pair

    @property
    def sides(self) -> tuple[str, str]:
        """Both texts."""
        return self.first, self.second

    @override
    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # what `__new__` takes, for pickle
        return self.sides


def as_pair(value: Any) -> TextPair | None:
    """The pair that a value stands for. None if it stands for none.

    Args:
        value: A `TextPair`, its text, or a tuple or list of two texts.

    Example:
        >>> as_pair(("a", "b")) == as_pair(str(TextPair("a", "b"))) == TextPair("a", "b")
        True
        >>> as_pair("a"), as_pair(("a", "b", "c"))
        (None, None)
    """
    if isinstance(value, TextPair):
        return value
    if isinstance(value, (tuple, list)):
        return TextPair(*value) if len(value) == 2 and all(isinstance(side, str) for side in value) else None
    found = _FORM.fullmatch(value) if isinstance(value, str) and value.startswith("<first") else None
    pair = None if found is None else TextPair(found["first"], found["second"])
    return pair if pair is not None and str(pair) == value else None


def sides_of(text: str) -> tuple[str, ...]:
    """The texts that an input consists of: both of a pair, or the one text.

    Example:
        >>> sides_of("a"), sides_of(TextPair("a", "b"))
        (('a',), ('a', 'b'))
    """
    return text.sides if isinstance(text, TextPair) else (text,)


def read_pair(value: Any, *, where: str = "") -> TextPair:
    """The pair that a value stands for.

    Args:
        value: See `as_pair`.
        where: Place of the value, for the error, with the separator behind it.

    Raises:
        InvalidInputError: It stands for none.
    """
    pair = as_pair(value)
    if pair is None:
        msg = f"Got {where}{what_came(value)} but expected a pair of texts, such as (question, document)"
        raise InvalidInputError(msg)
    return pair
