"""A table of class probabilities as predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import Prediction, ReadOnlyDict, Stage, Training, probability


def predictions_of(
    labels: Sequence[Any],
    table: NDArray[np.float64],
    ood_scores: Sequence[float | None],
    training: Sequence[Training | None],
    stages: Sequence[Stage | None] | None = None,
) -> list[Prediction]:
    """The prediction of each row of a table of probabilities.

    The table is checked as a whole, so that no probability is looked at by itself.

    Args:
        labels: The labels, in the order of the columns.
        table: Probabilities of shape [n, labels]. A row with a number that is not finite becomes a prediction without a
            label.
        ood_scores: Distance of each row from the training data. None if it is not known.
        training: How the model knows each row from its training.
        stages: Which part of the model answered each row. None if it has one part.

    Raises:
        ValueError: A finite number is no probability.

    Example:
        >>> (prediction,) = predictions_of(("ham", "spam"), np.array([[0.25, 0.75]]), [None], [None])
        >>> print(prediction, prediction.probabilities)
        spam (75 %) {'ham': 0.25, 'spam': 0.75}
    """
    known = np.isfinite(table).all(axis=1)
    for extreme in (table[known].min(initial=0), table[known].max(initial=0)):
        probability(extreme, "a probability of the model")
    table = np.clip(table, 0, 1)
    bests: list[int] = np.where(known, table.argmax(axis=1), 0).tolist()
    is_known: Any = known.tolist()
    stages = stages or [None] * len(bests)
    return [
        Prediction(
            label=labels[best],
            confidence=float(row[best]),
            probabilities=ReadOnlyDict(zip(labels, row.tolist(), strict=True)),
            ood_score=ood_score,
            training=told,
            stage=stage,
        )
        if is_sound
        else Prediction(label=None, training=told)  # the branch defers what has no confidence
        for is_sound, best, row, ood_score, told, stage in zip(
            is_known, bests, table, ood_scores, training, stages, strict=True
        )
    ]
