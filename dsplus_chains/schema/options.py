"""Checks of options that are one of several names, a list, a count, or an object of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

from dsplus_chains.schema.errors import DSPlusError, InvalidInputError
from dsplus_chains.schema.wording import what_came


def check_choice(
    option: str, value: Any, known: Collection[Any], *, error: type[DSPlusError] = InvalidInputError
) -> None:
    """Refuse an option that is none of the names that it may be.

    Args:
        option: What the option is called.
        value: What was given.
        known: The names, such as ``get_args`` of a `Literal`.
        error: The error to raise.

    Raises:
        DSPlusError: It is none of them.

    Example:
        >>> check_choice("aim", "cheap", ("calls", "accuracy"))
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got aim='cheap' (str) but expected one of ['calls', 'accuracy']
    """
    if value not in tuple(known):
        msg = f"Got {option}={what_came(value)} but expected one of {list(known)}"
        raise error(msg)


def check_listed(option: str, value: Any) -> None:
    """Refuse what is no list of values: a text, which would be read letter by letter, a set or a dict.

    A set of texts has another order in each run. Of a dict, only the keys would be read.

    Raises:
        InvalidInputError: It is one of them.

    Example:
        >>> check_listed("labels", {"refund"})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got labels={'refund'} (set) but expected a list, ...
    """
    if isinstance(value, (str, bytes)):
        msg = f"Got {option}={what_came(value)} but expected a list, such as [{value!r}]"
        raise InvalidInputError(msg)
    if isinstance(value, (set, frozenset)):
        msg = f"Got {option}={what_came(value)} but expected a list, such as sorted(...), in one order for all runs"
        raise InvalidInputError(msg)
    if isinstance(value, Mapping):
        msg = f"Got {option}={what_came(value)} but expected a list; the meanings of labels go into descriptions="
        raise InvalidInputError(msg)


def check_kind(option: str, value: Any, kind: type) -> None:
    """Refuse an object of another class, such as the path of a bundle in place of the bundle.

    Raises:
        InvalidInputError: It is of another class.

    Example:
        >>> check_kind("bundle", "intents", dict)
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got bundle='intents' (str) but expected an object of dict
    """
    if not isinstance(value, kind):
        msg = f"Got {option}={what_came(value)} but expected an object of {kind.__name__}"
        raise InvalidInputError(msg)


def check_least(option: str, value: Any, least: int) -> None:
    """Refuse a number that is no integer from a bound on.

    Raises:
        InvalidInputError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        msg = f"Got {option}={what_came(value)} but expected an integer of at least {least}"
        raise InvalidInputError(msg)
