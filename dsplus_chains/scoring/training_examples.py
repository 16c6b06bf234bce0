"""Checks labelled examples for `fit`, before any time is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import (
    InvalidInputError,
    TextPair,
    TrainingDataError,
    as_cell,
    as_label,
    as_pair,
    check_labels,
    check_sound,
    column_of,
    each_once,
    is_missing,
    is_one_line,
    shown,
    sides_of,
)


def check_examples(
    texts: Sequence[Any], labels: Sequence[Any], *, modality: Modality = "text"
) -> tuple[list[str], tuple[Any, ...], NDArray[np.int64]]:
    """The texts as a list, the labels in order of first appearance, and each row's class number.

    Args:
        texts: See `read_inputs`.
        labels: As many labels, all of one type.
        modality: What the examples are.

    Raises:
        TrainingDataError: Lengths differ, or something is no text or label. Or there is a single class, or a class has
            fewer than two examples. The message names rows and labels.

    Example:
        >>> check_examples(["a", "b", "c", "d"], ["x", "y", "x", "y"])[1:]
        (('x', 'y'), array([0, 1, 0, 1]))
    """
    rows, told = read_examples(texts, labels, "labels", modality=modality)
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
    return rows, names, np.array([numbers[label] for label in given], dtype=np.int64)


def read_examples(texts: Any, targets: Any, what: str, *, modality: Modality = "text") -> tuple[list[str], list[Any]]:
    """The texts of examples, and what they are to teach.

    Args:
        texts: See `read_inputs`.
        targets: A column with as many cells.
        what: Name of that column, for errors.
        modality: What the examples are.

    Raises:
        TrainingDataError: One is no such column, or their lengths differ.

    Example:
        >>> read_examples(["a", "b"], [1.5, 2], "values")
        (['a', 'b'], [1.5, 2])
    """
    try:
        rows, told = read_inputs(texts, modality=modality), column_of(targets, what)
    except InvalidInputError as error:
        raise TrainingDataError(str(error)) from error
    if len(rows) != len(told):
        msg = f"Got {len(rows)} {modality}s and {len(told)} {what} but expected as many of one as of the other"
        raise TrainingDataError(msg)
    return rows, told


def read_inputs(texts: Any, *, may_be_empty: bool = False, modality: Modality = "text") -> list[str]:
    """The texts of examples, or their pairs of texts, or their images.

    Args:
        texts: A list of strings, an array, or a column of a data frame. Or a list of pairs, or a table of two columns.
        may_be_empty: Whether a text may be empty. A small model cannot learn from it, but a prompt can show it.
        modality: What the examples are. Images are a list, a column, or an array of shape [n, h, w] or [n, h, w, 3].

    Raises:
        InvalidInputError: It is no column. Or something in it is no text or image, or is empty. Or only some rows are
            pairs.

    Example:
        >>> [pair.second for pair in read_inputs([("Where?", "Here."), ("When?", "Today.")])]
        ['Here.', 'Today.']
    """
    if modality == "image":
        return _read_images(texts)
    is_table = len(getattr(texts, "shape", ())) == 2 and texts.shape[1] == 2
    given = np.asarray(texts).tolist() if is_table else column_of(texts, "texts")
    pairs = [as_pair(text) for text in given]
    lone = next((row for row, pair in enumerate(pairs) if pair is None), None)
    first = next((row for row, text in enumerate(given) if pairs[row] is not None and not isinstance(text, str)), None)
    if lone is not None and first is not None:
        msg = f"Got a pair in texts[{first}] and texts[{lone}]={shown(given[lone])} but expected pairs of texts alone"
        raise InvalidInputError(msg)
    rows = given if lone is not None else [pair for pair in pairs if pair is not None]
    for row, text in enumerate(rows):
        if not isinstance(text, str) or (not may_be_empty and any(map(is_missing, sides_of(text)))):
            kind = "a text that is not empty" if isinstance(text, str) else "a text that is not empty, or a pair of two"
            msg = f"Got texts[{row}]={shown(text)} but expected {kind}; drop or mend such rows"
            raise InvalidInputError(msg)
        check_sound(text, where=f"texts[{row}]=")
    return [text if isinstance(text, TextPair) else as_label(text) for text in rows]


def _read_images(images: Any) -> list[str]:
    is_stack = len(getattr(images, "shape", ())) > 2
    found: list[str] = []
    for row, image in enumerate(images if is_stack else column_of(images, "images")):
        try:
            found.append(read_image(image))
        except InvalidInputError as error:
            msg = f"{error}; it is in images[{row}]"
            raise InvalidInputError(msg) from error
    return found


def _is_label(value: Any) -> bool:
    return is_one_line(value) if isinstance(value, str) else isinstance(value, int)
