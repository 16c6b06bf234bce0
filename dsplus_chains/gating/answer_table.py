"""Predictions and answers as arrays, for fitting and applying a fusion. All functions are pure."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError, Prediction, as_cell, check_labels, label_key, read_confidences

SMALLEST_PROBABILITY = 1e-12


def names_in(predictions: Sequence[Prediction]) -> tuple[Any, ...]:
    """Every label that some prediction gives a probability, in order of first appearance."""
    names = dict.fromkeys(label for row in predictions for label in row.probabilities or ())
    if not names:
        msg = "Got no prediction with probabilities but fusion weighs them; use a scorer that gives some"
        raise InvalidInputError(msg)
    return check_labels(list(names))


def answer_columns(
    answers: Sequence[Any], names: Sequence[Any], predictions: Sequence[Prediction]
) -> NDArray[np.int64]:
    """The column number of each answer's label, or -1.

    An answer gets -1 if it is no label, or if its row gives it no probability. A probability of 0 counts as none. Such
    a label is masked, or got no vote. If a few such labels proved true, a fit would give the small model no weight.
    """
    columns = {label_key(label): column for column, label in enumerate(names)}
    found = np.full(len(answers), -1, dtype=np.int64)
    for row, (answer, prediction) in enumerate(zip(map(as_cell, answers), predictions, strict=True)):
        if isinstance(answer, (str, int)) and (prediction.probabilities or {}).get(answer):
            found[row] = columns.get(label_key(answer), -1)
    return found


def confidence_column(told: Sequence[float | None] | None, answers: Sized) -> NDArray[np.float64]:
    """The large model's confidence in each answer. It is NaN where the model gave none.

    Raises:
        InvalidInputError: Something else is no number in [0, 1]. The error names its row.
    """
    given = [None] * len(answers) if told is None else read_confidences(told)
    return np.array(given, dtype=np.float64)


def check_lengths(**given: Sized) -> None:
    """Refuse columns of different lengths.

    Raises:
        InvalidInputError: The lengths differ.
    """
    if len({len(column) for column in given.values()}) > 1:
        shown = ", ".join(f"{len(column)} {name.replace('_', ' ')}" for name, column in given.items())
        msg = f"Got {shown} but expected one of each for every row"
        raise InvalidInputError(msg)


def rows_heard(
    predictions: Sequence[Prediction], labels: Sequence[Any], large_answers: Sequence[Any], names: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The usable rows, with the column numbers of their true labels and of their answers.

    A row is usable if both its true label and its answer have a column.
    """
    truth, answers = answer_columns(labels, names, predictions), answer_columns(large_answers, names, predictions)
    rows = np.flatnonzero((truth >= 0) & (answers >= 0))
    return rows, truth[rows], answers[rows]


def probability_table(predictions: Sequence[Prediction], names: Sequence[Any]) -> NDArray[np.float64]:
    """The probability of each label, of shape [n, labels]. It is 0 where a prediction does not name the label."""
    rows = [[(row.probabilities or {}).get(label, 0.0) for label in names] for row in predictions]
    return np.array(rows, dtype=np.float64)


def log_probabilities(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of probabilities, which stays finite for 0."""
    logs: NDArray[np.float64] = np.log(np.maximum(table, SMALLEST_PROBABILITY))
    return logs
