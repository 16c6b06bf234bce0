"""Finds the text of an input, and checks that it is sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema.errors import InvalidInputError
from dsplus_chains.schema.wording import shorten, what_came

NOTHING_TO_READ = "there is nothing to read"
"""The reason why nothing was found in a text without a passage."""


def read_text(value: Any, *, purpose: str) -> str:
    """The text of an input, which is a text or a record.

    Args:
        value: The input.
        purpose: The purpose of the text, for the error.

    Raises:
        InvalidInputError: There is none, or it holds half of a character.

    Example:
        >>> read_text({"input": "broke at once", "id": 7}, purpose="search")
        'broke at once'
    """
    text = value.get("input") if isinstance(value, Mapping) else value
    if isinstance(text, str):
        return check_sound(text, where="'input': " if isinstance(value, Mapping) else "")
    got = f"a record with input={what_came(text)}" if isinstance(value, Mapping) else what_came(text)
    msg = f"Got {got} but expected a text to {purpose}, or a record with one as its 'input'"
    raise InvalidInputError(msg)


def check_sound(text: str, *, where: str) -> str:
    """The text, if it is sound. Half of a character makes a tokenizer fail on the whole batch.

    Args:
        text: Any text.
        where: Place of the text, for the error, with the separator behind it.

    Raises:
        InvalidInputError: It holds half of a character.
    """
    if is_sound(text):
        return text
    msg = f"Got {where}{shorten(repr(text), 80)}, which holds half of a character (a lone surrogate); mend its decoding"
    raise InvalidInputError(msg)


def is_sound(text: str) -> bool:
    """Whether a text can be encoded. Half of an emoji, cut in two, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
