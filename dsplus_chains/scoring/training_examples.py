"""Checks labelled examples for `fit`, before any time is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import (
    InvalidInputError,
    TrainingDataError,
    as_cell,
    as_label,
    check_labels,
    check_sound,
    column_of,
    each_once,
    is_missing,
    is_one_line,
    shown,
)


def check_examples(texts: Sequence[Any], labels: Sequence[Any]) -> tuple[list[str], tuple[Any, ...], NDArray[np.int64]]:
    """The texts as a list, the labels in order of first appearance, and each row's class number.

    Args:
        texts: Any sequence of strings, such as a list, an array, or a column of a data frame.
        labels: As many labels, all of one type.

    Raises:
        TrainingDataError: Lengths differ, or something is no text or label. Or there is a single class, or a class has
            fewer than two examples. The message names rows and labels.

    Example:
        >>> check_examples(["a", "b", "c", "d"], ["x", "y", "x", "y"])[1:]
        (('x', 'y'), array([0, 1, 0, 1]))
    """
    try:
        rows, told = column_of(texts, "texts"), column_of(labels, "labels")
        if len(rows) != len(told):
            msg = f"Got {len(rows)} texts and {len(told)} labels but expected as many of one as of the other"
            raise TrainingDataError(msg)
        for row, text in enumerate(rows):
            if not isinstance(text, str) or is_missing(text):
                msg = f"Got texts[{row}]={shown(text)} but expected a text that is not empty; drop or mend such rows"
                raise TrainingDataError(msg)
            check_sound(text, where=f"texts[{row}]=")
    except InvalidInputError as error:
        raise TrainingDataError(str(error)) from error
    given = [as_cell(label) for label in told]
    if wrong := [row for row, label in enumerate(given) if not _is_label(label)]:
        # A gap turns a column of integers into floats, so a gap is named before anything else.
        row = next((row for row in wrong if given[row] is None), wrong[0])
        got = f"labels[{row}]={shown(told[row])} ({type(told[row]).__name__})"
        msg = f"Got {got} but expected an integer, a boolean, or a string of one line; drop or mend such rows"
        raise TrainingDataError(msg)
    try:
        names = check_labels(each_once(given))
    except ValueError as error:
        raise TrainingDataError(str(error)) from error
    counts = Counter(given)
    if len(names) < 2:
        msg = f"Got examples of one label only, {names[0]!r}, but expected at least two labels to tell apart"
        raise TrainingDataError(msg)
    if rare := [label for label in names if counts[label] < 2]:
        msg = f"Got only one example each of {rare[:10]} but expected at least two a label; add some or drop the label"
        raise TrainingDataError(msg)
    numbers = {label: number for number, label in enumerate(names)}
    return [as_label(text) for text in rows], names, np.array([numbers[label] for label in given], dtype=np.int64)


def _is_label(value: Any) -> bool:
    return is_one_line(value) if isinstance(value, str) else isinstance(value, int)
