"""Class labels, which are plain values, each given once and all of one type."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, StrictBool, StrictInt, StrictStr

from dsplus_chains.schema.options import check_listed
from dsplus_chains.schema.reprs import brief


def as_label(value: Any) -> Any:
    """Turn a special scalar into a plain value. Anything else passes unchanged.

    It converts numpy scalars and subclasses of string and integer (an enum member, the text of a message).

    Example:
        >>> import numpy as np
        >>> as_label(np.int64(3)), as_label(np.str_("spam")), as_label("spam")
        (3, 'spam', 'spam')
    """
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return value.item()
    if isinstance(value, str) and type(value) is not str:
        return str.__str__(value)
    if isinstance(value, int) and type(value) not in {int, bool}:
        return int(value)
    return value


Label: TypeAlias = Annotated[StrictBool | StrictInt | StrictStr, BeforeValidator(as_label)]
"""A class label. One scorer uses one type, so `True` and `1` never mix."""


def check_labels(labels: Sequence[Any]) -> tuple[Any, ...]:
    """The labels as a tuple, if they are valid.

    There must be at least one. Each must come once, none may be blank, and all must have one type. Each must be a
    single line without control characters. In an answer, a label of two lines could not be told from two labels.

    Raises:
        ValueError: The labels are not valid.

    Example:
        >>> check_labels([True, 1])
        Traceback (most recent call last):
        ...
        ValueError: Got labels of the types bool, int but expected one type: [True, 1]
    """
    check_listed("labels", labels)
    plain = tuple(as_label(label) for label in labels)
    types = sorted({type(label).__name__ for label in plain})
    if len(types) > 1:
        msg = f"Got labels of the types {', '.join(types)} but expected one type: {brief(list(plain))}"
        raise ValueError(msg)
    if not plain or types[0] not in {"str", "int", "bool"}:
        msg = f"Got labels={brief(list(plain))} but expected at least one string, integer or boolean"
        raise ValueError(msg)
    if any(isinstance(label, str) and not label.strip() for label in plain):
        msg = (
            f"Got labels={brief(list(plain))}, of which one is blank, but expected names that can be read in an answer"
        )
        raise ValueError(msg)
    if broken := next((label for label in plain if isinstance(label, str) and not is_one_line(label)), None):
        msg = f"Got the label {broken!r} but expected one line without control characters, as an answer can name it"
        raise ValueError(msg)
    if twice := sorted({str(label) for label in plain if plain.count(label) > 1}):
        msg = f"Got the labels {brief(twice)} more than once but expected each label once"
        raise ValueError(msg)
    return plain


def is_one_line(text: str) -> bool:
    r"""Whether a text is one line, without control characters and halves of characters.

    Example:
        >>> is_one_line("not spam"), is_one_line("not\nspam"), is_one_line("a\u2028b")
        (True, False, False)
    """
    return not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text)


def label_key(label: Any) -> tuple[type, Any]:
    """A key that tells labels apart in a dict or a set. There, plain True would find 1."""
    return type(label), label


def same_label(one: Any, other: Any) -> bool:
    """Whether two values are the same label, with equal value and equal type. True is not 1, and None is no label.

    Example:
        >>> same_label(1, 1), same_label(True, 1), same_label(None, None)
        (True, False, False)
    """
    return one is not None and type(one) is type(other) and bool(one == other)


def each_once(labels: Iterable[Any]) -> tuple[Any, ...]:
    """Labels without repetitions, in order of first appearance. True is not 1.

    Example:
        >>> each_once([True, 1, True])
        (True, 1)
    """
    return tuple(label for _, label in dict.fromkeys(map(label_key, labels)))


def labels_outside(labels: Iterable[Any], known: Sequence[Any]) -> list[Any]:
    """The labels that are not among the known ones. True is not 1.

    Example:
        >>> labels_outside([True, 2, 3], [1, 2])
        [True, 3]
    """
    plain = set(map(label_key, known))
    return [label for label in map(as_label, labels) if label_key(label) not in plain]


Labels: TypeAlias = Annotated[tuple[Label, ...], BeforeValidator(check_labels)]
"""At least one label, each once, all of one type."""
