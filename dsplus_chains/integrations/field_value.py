"""The value that a label stands for in a field of an app's output."""

from __future__ import annotations

from datetime import date, time
from enum import Enum
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from dsplus_chains.integrations.output_field import OutputField, plain_type
from dsplus_chains.prompting.fields import as_text
from dsplus_chains.schema import InvalidInputError, as_label, same_label

_TIMES = (date, time)
"""The types of points in time, which pydantic makes of numbers, too."""


def value_of(field: OutputField, label: Any) -> Any:
    """The value of a field that a label stands for. It has the type that the app's own answer has.

    Args:
        field: The field.
        label: The label.

    Raises:
        InvalidInputError: The field holds no such value.

    Example:
        >>> value_of(OutputField(options=None, needed=True, kind=int), "5")
        5
        >>> value_of(OutputField(options=("bug", "wish"), needed=True), "wish")
        'wish'
    """
    return _fitted(field.kind, label) if field.options is None else option_of(field.options, label)


def option_of(options: tuple[Any, ...], label: Any) -> Any:
    """The allowed value that a label stands for.

    Raises:
        InvalidInputError: There is none.
    """
    for stands_for in (_is, _reads_like):
        for option in options:
            if stands_for(option, label):
                return option
    msg = f"the allowed values are {list(options)[:10]}"
    raise InvalidInputError(msg)


def _is(option: Any, label: Any) -> bool:
    plain = option.value if isinstance(option, Enum) else option
    return same_label(as_label(plain), label)


def _reads_like(option: Any, label: Any) -> bool:
    if isinstance(option, Enum):
        return str(option.value) == str(label) or option.name == label
    if isinstance(option, bool):
        return str(label).casefold() in as_text(option)
    return not isinstance(label, bool) and str(option) == str(label)


def _fitted(kind: Any, label: Any) -> Any:
    """The label as a type. An integer may become a text, and a text a number. No number becomes a time.

    Raises:
        InvalidInputError: The label is nothing of this type.
    """
    if kind is Any:
        return label
    try:
        value = _adapter(kind).validate_python(label)
        if not (isinstance(value, _TIMES) and _is_number(label)):
            return value
    except (PydanticUserError, SchemaError):  # what pydantic cannot make, such as a Protocol, stands for no label
        pass
    except ValidationError:
        if type(label) is int and kind is not int:
            return _fitted(kind, str(label))
        made = _made(plain_type(kind), label)
        if made is not None:
            return made
    msg = f"the field is of type {getattr(kind, '__name__', kind)}, which it is none of; give output= as a function"
    raise InvalidInputError(msg)


def _is_number(label: Any) -> bool:
    """Whether a label is a number or says one, which pydantic takes for seconds."""
    try:
        float(label)
    except (TypeError, ValueError):
        return False
    return True


def _made(kind: Any, label: Any) -> Any:
    """The label as a class of the caller's own that is a text or an integer. None if it is none, or has other rules."""
    is_own = isinstance(kind, type) and issubclass(kind, (str, int)) and not issubclass(kind, Enum)
    if not is_own or kind in {str, int, bool} or hasattr(kind, "__get_pydantic_core_schema__"):
        return None
    try:
        return kind(label) if isinstance(label, str) else None
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What makes a type of a label. Of a class that pydantic does not know, it makes nothing."""
    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a class with a config of its own
        return TypeAdapter(kind)
