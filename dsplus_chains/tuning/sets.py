"""Decide how many labels to offer the large model, by conformal sets for the rows that a threshold defers."""

from __future__ import annotations

import math

import numpy as np

from dsplus_chains.calibration.conformal import conformal_level
from dsplus_chains.tuning.tuning_rows import TuningRows


def fewest_rows(set_coverage: float) -> int:
    """With fewer rows than this, only offering all labels keeps the promise.

    Args:
        set_coverage: Promised coverage, in (0, 1).

    Example:
        >>> fewest_rows(0.95)
        19
    """
    return math.ceil(set_coverage / (1 - set_coverage) - 1e-9)


def pruning_level(deferred: TuningRows, set_coverage: float) -> float:
    """The level of conformal sets that hold the true label of a deferred input with probability `set_coverage`.

    Only deferred rows count, because only deferred inputs are pruned. They are the ones the small model is unsure of.
    The promise is exact for a threshold fixed beforehand. Here the threshold comes from the same rows, so the promise
    is only nearly exact. One number chosen on hundreds of rows moves few of them. A row whose true label the small
    model does not know can never be covered. It raises the level.

    Args:
        deferred: The rows that the threshold defers.
        set_coverage: Promised coverage, in (0, 1).
    """
    names = list(deferred.all_labels)
    columns = {label: column for column, label in enumerate(names)}
    spoken = [row for row, prediction in enumerate(deferred.predictions) if prediction.probabilities is not None]
    table = np.zeros((len(spoken), len(names)))
    for number, row in enumerate(spoken):
        for label, probability in (deferred.predictions[row].probabilities or {}).items():
            table[number, columns[label]] = probability
    targets = [columns.get(deferred.labels[row], -1) for row in spoken]
    return conformal_level(table, targets, set_coverage=set_coverage)
