"""Compare answers with labels. Types are respected, and missing values are never right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    as_label,
    same_label,
    shown,
)


def clean_answers(values: Iterable[Any]) -> list[Any]:
    """Turn numpy scalars into Python values and NaN (an empty cell of a data frame) into None.

    Example:
        >>> clean_answers([np.int64(3), float("nan"), None])
        [3, None, None]
    """
    return [None if _is_missing(value) else as_label(value) for value in values]


def clean_labels(values: Iterable[Any]) -> list[Any]:
    """Clean true labels as `clean_answers` does. None may be missing, and all must have one type.

    Raises:
        InvalidInputError: A label is missing, or types are mixed.
    """
    labels = clean_answers(values)
    missing = [row for row, label in enumerate(labels) if label is None]
    if missing:
        msg = f"Got no label in row {missing[0]} but expected one in every row; leave such rows out"
        raise InvalidInputError(msg)
    types = sorted({type(label).__name__ for label in labels})
    if len(types) > 1:
        msg = f"Got labels of types {', '.join(types)} but expected one type; convert them"
        raise InvalidInputError(msg)
    return labels


def right_answers(answers: Sequence[Any], labels: Sequence[Any], *, what: str = "answers") -> NDArray[np.bool_]:
    """Row by row, whether the answer is the label.

    Raises:
        InvalidInputError: The lengths differ, or no answer has the labels' type ("71" where labels are 71).
    """
    if len(answers) != len(labels):
        msg = f"Got {len(answers)} {what} for {len(labels)} labels but expected one for each"
        raise InvalidInputError(msg)
    given = {type(answer).__name__ for answer in answers if answer is not None}
    expected = {type(label).__name__ for label in labels}
    if given and expected and not given & expected:
        msg = f"Got {what} of type {', '.join(sorted(given))} but labels of type {', '.join(expected)}; convert one"
        raise InvalidInputError(msg)
    return np.array([same_label(answer, label) for answer, label in zip(answers, labels, strict=True)], dtype=np.bool_)


def check_readable(answers: Sequence[Any], known: Sequence[Any]) -> None:
    """Refuse large answers that were never read, because "Positive." for "positive" would count as wrong throughout.

    Raises:
        InvalidInputError: Not one answer is a known label, but one would be if it were parsed.
    """
    given = [answer for answer in answers if answer is not None]
    labels = list({label: None for label in known if isinstance(label, str)})
    if not given or not labels or any(same_label(answer, label) for answer in given for label in labels):
        return
    read = LabelParser(labels=labels).batch(given[:50], return_exceptions=True)
    if unread := next((a for a, label in zip(given, read, strict=False) if not isinstance(label, Exception)), None):
        msg = f"Got large answers such as {shown(unread)}, and none that is a label; read them with LabelParser first"
        raise InvalidInputError(msg)


def number(value: float) -> float | None:
    """A number for JSON. NaN, which JSON cannot hold, becomes None."""
    return None if math.isnan(value) else float(value)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))
