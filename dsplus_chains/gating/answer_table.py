"""Predictions and answers as arrays: what a fusion is fitted on, and what it weighs. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError, Prediction, as_label, check_labels, label_key

SMALLEST_PROBABILITY = 1e-12


def names_in(predictions: Sequence[Prediction]) -> tuple[Any, ...]:
    """Every label that some prediction gives a probability of, in the order in which they come."""
    names = dict.fromkeys(label for row in predictions for label in row.probabilities or ())
    if not names:
        msg = "Got no prediction with probabilities but fusion weighs them; use a scorer that gives some"
        raise InvalidInputError(msg)
    return check_labels(list(names))


def answer_columns(
    answers: Sequence[Any], names: Sequence[Any], predictions: Sequence[Prediction]
) -> NDArray[np.int64]:
    """The number of the label that each answer is; -1 for what is none, or has no probability in its row.

    One of 0 is none: the label is masked, or in no vote. Taken at its word, a few such labels that prove true would
    cost the small model all its say.
    """
    columns = {label_key(label): column for column, label in enumerate(names)}
    found = np.full(len(answers), -1, dtype=np.int64)
    for row, (answer, prediction) in enumerate(zip(map(as_label, answers), predictions, strict=True)):
        if isinstance(answer, (str, int)) and (prediction.probabilities or {}).get(answer):
            found[row] = columns.get(label_key(answer), -1)
    return found


def confidence_column(told: Sequence[float | None] | None, answers: Sequence[Any]) -> NDArray[np.float64]:
    """How sure the large model was of each answer; NaN where it did not tell."""
    return np.array([None] * len(answers) if told is None else list(told), dtype=np.float64)


def check_lengths(**given: Sized) -> None:
    """Refuse columns of different lengths.

    Raises:
        InvalidInputError: They differ.
    """
    if len({len(column) for column in given.values()}) > 1:
        shown = ", ".join(f"{len(column)} {name.replace('_', ' ')}" for name, column in given.items())
        msg = f"Got {shown} but expected one of each for every row"
        raise InvalidInputError(msg)


def rows_heard(
    predictions: Sequence[Prediction], labels: Sequence[Any], large_answers: Sequence[Any], names: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows from which something can be learned, and the numbers of their true labels and of the answers."""
    truth, answers = answer_columns(labels, names, predictions), answer_columns(large_answers, names, predictions)
    rows = np.flatnonzero((truth >= 0) & (answers >= 0))
    return rows, truth[rows], answers[rows]


def probability_table(predictions: Sequence[Prediction], names: Sequence[Any]) -> NDArray[np.float64]:
    """The probability of each label, of shape [n, labels]; 0 where a prediction does not speak of it."""
    rows = [[(row.probabilities or {}).get(label, 0.0) for label in names] for row in predictions]
    return np.array(rows, dtype=np.float64)


def log_probabilities(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of probabilities, finite also for 0."""
    logs: NDArray[np.float64] = np.log(np.maximum(table, SMALLEST_PROBABILITY))
    return logs
