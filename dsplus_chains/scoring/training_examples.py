"""Checks labelled examples for `fit`, before any time is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import (
    TrainingDataError,
    as_label,
    check_labels,
    each_once,
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
    for name, given in (("texts", texts), ("labels", labels)):
        if isinstance(given, (str, bytes)):
            msg = f"Got {name}={given!r}, one string, but expected a sequence with one entry an example"
            raise TrainingDataError(msg)
    rows, given = list(texts), [as_label(label) for label in labels]
    if len(rows) != len(given):
        msg = f"Got {len(rows)} texts and {len(given)} labels but expected as many of one as of the other"
        raise TrainingDataError(msg)
    for row, text in enumerate(rows):
        if not isinstance(text, str) or not text.strip():
            msg = f"Got texts[{row}]={text!r} but expected a text that is not empty; drop or mend such rows first"
            raise TrainingDataError(msg)
    for row, label in enumerate(given):
        if not isinstance(label, (str, int)):
            msg = f"Got labels[{row}]={label!r} ({type(label).__name__}) but expected a string, integer or boolean"
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
    return rows, names, np.array([numbers[label] for label in given], dtype=np.int64)
