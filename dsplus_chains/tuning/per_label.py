"""Choose a threshold for each label that the small model may give, where there are enough rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.evaluation.curve import operating_curve
from dsplus_chains.tuning.select import stably_accurate

FEWEST_ROWS = 100
"""A label predicted for fewer rows than this gets the common threshold."""


def thresholds_by_label(
    predicted: Sequence[Any],
    labels: Iterable[Any],
    *,
    common: float | None,
    confidence: NDArray[np.float64],
    small_right: NDArray[np.bool_],
    deferred_right: NDArray[np.bool_],
    min_gain: float,
    seed: int,
) -> dict[Any, float | None]:
    """Choose the most accurate threshold among the rows of each predicted label.

    Args:
        predicted: The small model's label of each row.
        labels: All labels that it may give. A label without rows of its own gets the common threshold too.
        common: The threshold chosen on all rows.
        confidence: Confidence of each row, NaN where it is missing.
        small_right: Whether the small model is right.
        deferred_right: Whether the answer would be right if the row were deferred.
        min_gain: What a call must gain, in right answers.
        seed: Seed of the bootstrap.
    """
    rows_of: dict[Any, list[int]] = {label: [] for label in labels if label is not None}
    for row, label in enumerate(predicted):
        if label is not None:
            rows_of.setdefault(label, []).append(row)
    thresholds: dict[Any, float | None] = {}
    for label, rows in rows_of.items():
        thresholds[label] = common
        if len(rows) >= FEWEST_ROWS:
            own = (confidence[rows], small_right[rows], deferred_right[rows])
            curve = operating_curve(*own)
            allowed = np.ones(len(curve.thresholds), dtype=np.bool_)
            chosen = stably_accurate(curve, allowed, *own, min_gain=min_gain, seed=seed)
            thresholds[label] = curve.thresholds[chosen]
    return thresholds
