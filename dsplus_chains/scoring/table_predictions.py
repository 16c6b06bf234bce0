"""What a classifier says of texts, as a table, and as predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import Prediction, ReadOnlyDict, Stage, Training, probability


class Scores(NamedTuple):
    """What a classifier says of texts.

    Args:
        probabilities: Class probabilities of shape [n texts, classes].
        distances: Each text's distance from the training examples. None if no member looks for neighbours.
        early: Whether each text was answered without an encoder. None for a classifier without an early exit.
    """

    probabilities: NDArray[np.float64]
    distances: NDArray[np.float64] | None = None
    early: NDArray[np.bool_] | None = None


def predictions_of(labels: Sequence[Any], scores: Scores, training: Sequence[Training | None]) -> list[Prediction]:
    """The prediction of each row of a table of probabilities.

    The table is checked as a whole, so that no probability is looked at by itself. A row with a number that is not
    finite becomes a prediction without a label.

    Args:
        labels: The labels, in the order of the columns.
        scores: The table.
        training: How the model knows each row from its training.

    Raises:
        ValueError: A finite number is no probability.

    Example:
        >>> (prediction,) = predictions_of(("ham", "spam"), Scores(np.array([[0.25, 0.75]])), [None])
        >>> print(prediction, prediction.probabilities)
        spam (75 %) {'ham': 0.25, 'spam': 0.75}
    """
    table, distances, early = scores
    known = np.isfinite(table).all(axis=1)
    for extreme in (table[known].min(initial=0), table[known].max(initial=0)):
        probability(extreme, "a probability of the model")
    table = np.clip(table, 0, 1)
    bests: list[int] = np.where(known, table.argmax(axis=1), 0).tolist()
    is_known: Any = known.tolist()
    ood_scores = [None] * len(bests) if distances is None else distances.tolist()
    stages: list[Stage | None] = [None] * len(bests)
    if early is not None:
        stages = ["early" if row else "whole" for row in early]
    told = zip(is_known, bests, table, ood_scores, training, stages, strict=True)
    return [_prediction(labels, *row) for row in told]


def _prediction(
    labels: Sequence[Any],
    is_sound: bool,
    best: int,
    row: NDArray[np.float64],
    ood_score: float | None,
    training: Training | None,
    stage: Stage | None,
) -> Prediction:
    """The prediction of one row. What the table's check has settled is not checked again."""
    if not is_sound:
        return Prediction(label=None, training=training)  # the branch defers what has no confidence
    numbers = row.tolist()
    return Prediction.model_construct(
        label=labels[best],
        value=labels[best],
        confidence=numbers[best],
        probabilities=ReadOnlyDict(zip(labels, numbers, strict=True)),
        ood_score=ood_score,
        training=training,
        stage=stage,
    )
