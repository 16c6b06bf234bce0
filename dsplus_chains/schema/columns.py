"""Reads the columns that a user gives: lists, arrays, or columns of a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from dsplus_chains.schema.cells import as_cell
from dsplus_chains.schema.errors import InvalidInputError
from dsplus_chains.schema.prediction import Prediction, as_confidence
from dsplus_chains.schema.wording import shown, what_came


def column_of(values: Any, what: str) -> list[Any]:
    """The cells of a column, as they are.

    Args:
        values: A list, a tuple, an array, or a column of a data frame (pandas, polars, pyarrow).
        what: Name of the column, for the error.

    Raises:
        InvalidInputError: It is no column.

    Example:
        >>> column_of(("a", None), "labels")
        ['a', None]
    """
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1:  # a single column, as a table of its own
        values = values.to_numpy() if hasattr(values, "to_numpy") else values
        values = values.reshape(-1) if hasattr(values, "reshape") else values
        shape = getattr(values, "shape", None)
    no_column = isinstance(values, (str, bytes, Mapping, Set)) or not hasattr(values, "__iter__")
    if no_column or (shape is not None and len(shape) != 1):
        got = f"a table of the shape {tuple(shape)}" if shape else what_came(values)
        got = f"one string, {shown(values)}," if isinstance(values, (str, bytes)) else got
        msg = f"Got {got} for the {what} but expected a list, an array, or one column of a data frame"
        raise InvalidInputError(msg)
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def clean_answers(values: Any, what: str = "answers") -> list[Any]:
    """The answers in a column as plain values. A missing one is None, and a whole number is an integer.

    Args:
        values: The column.
        what: Its name, for the error.

    Raises:
        InvalidInputError: It is no column.

    Example:
        >>> clean_answers([3.0, float("nan"), None])
        [3, None, None]
    """
    return [as_cell(value) for value in column_of(values, what)]


def clean_labels(values: Any) -> list[Any]:
    """Clean true labels as `clean_answers` does. None may be missing, and all must have one type.

    Raises:
        InvalidInputError: It is no column, a label is missing or a list or dict, or types are mixed.
    """
    labels = clean_answers(values, "labels")
    missing = [row for row, label in enumerate(labels) if label is None]
    if missing:
        msg = f"Got no label in row {missing[0]} but expected one in every row; leave such rows out"
        raise InvalidInputError(msg)
    if several := [row for row, label in enumerate(labels) if isinstance(label, (Mapping, Set, list, tuple))]:
        msg = (
            f"Got the label {what_came(labels[several[0]])} in row {several[0]} but expected a string, an integer or a "
            "boolean; where answers are no labels, give evaluate or tune_threshold a judge="
        )
        raise InvalidInputError(msg)
    types = sorted({type(label).__name__ for label in labels})
    if len(types) > 1:
        msg = f"Got labels of types {', '.join(types)} but expected one type; convert them"
        raise InvalidInputError(msg)
    return labels


def read_predictions(values: Any) -> list[Prediction]:
    """The small model's predictions, one a row.

    Args:
        values: A column of them, or of the records that hold them.

    Raises:
        InvalidInputError: Something else is among them. The error names its row.
    """
    found = []
    for row, value in enumerate(column_of(values, "predictions")):
        prediction = value.get("prediction") if isinstance(value, Mapping) else value
        if not isinstance(prediction, Prediction):
            got = what_came(value)
            msg = (
                f"Got {got} among the predictions, in row {row}, but expected a Prediction, or a record that holds one"
            )
            raise InvalidInputError(msg)
        found.append(prediction)
    return found


def read_confidences(values: Any) -> list[float | None]:
    """The large model's confidences, one a row. None where one is missing.

    Args:
        values: A column of them.

    Raises:
        InvalidInputError: One is no number in [0, 1]. The error names its row.

    Example:
        >>> read_confidences([0.9, float("nan")])
        [0.9, None]
    """
    found: list[float | None] = []
    for row, value in enumerate(column_of(values, "large confidences")):
        try:
            found.append(as_confidence(value))
        except ValueError as error:
            msg = f"{error}; it is in row {row} of the large confidences"
            raise InvalidInputError(msg) from error
    return found
