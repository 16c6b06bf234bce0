"""Compare answers with labels. Types are respected, and missing values are never right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError, clean_labels, same_label

__all__ = ["check_types", "clean_labels", "number", "right_answers"]


def right_answers(answers: Sequence[Any], labels: Sequence[Any], *, what: str = "answers") -> NDArray[np.bool_]:
    """Row by row, whether the answer is the label.

    Raises:
        InvalidInputError: The lengths differ, or no answer has the labels' type ("71" where labels are 71).
    """
    if len(answers) != len(labels):
        msg = f"Got {len(answers)} {what} for {len(labels)} labels but expected one for each"
        raise InvalidInputError(msg)
    check_types(answers, labels, what=what)
    return np.array([same_label(answer, label) for answer, label in zip(answers, labels, strict=True)], dtype=np.bool_)


def check_types(answers: Sequence[Any], labels: Sequence[Any], *, what: str) -> None:
    """Refuse answers of which none has the labels' type.

    Raises:
        InvalidInputError: There are answers, and none has the type.
    """
    given = {type(answer).__name__ for answer in answers if answer is not None}
    expected = {type(label).__name__ for label in labels}
    if given and expected and not given & expected:
        msg = f"Got {what} of type {', '.join(sorted(given))} but labels of type {', '.join(expected)}; convert one"
        raise InvalidInputError(msg)


def number(value: float) -> float | None:
    """A number for JSON. NaN, which JSON cannot hold, becomes None."""
    return None if math.isnan(value) else float(value)
