"""Which allowed point of an operating curve to take."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.evaluation.curve import OperatingCurve

RESAMPLES = 200
"""Bootstrap resamples behind the most accurate point."""
MOST_CELLS = 2_000_000
"""As many resampled rows are held in memory at once."""


def cheapest(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of least cost; among equals the most accurate, then the one that keeps most."""
    points = np.flatnonzero(allowed)
    return int(points[np.lexsort((-curve.kept[points], -curve.accuracy[points], curve.cost[points]))[0]])


def most_accurate(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of highest accuracy on the rows as they are; among equals the one that keeps most."""
    points = np.flatnonzero(allowed)
    return int(points[np.lexsort((-curve.kept[points], -curve.accuracy[points]))[0]])


def stably_accurate(
    curve: OperatingCurve,
    allowed: NDArray[np.bool_],
    confidence: ArrayLike,
    small_right: ArrayLike,
    deferred_right: ArrayLike,
    *,
    min_gain: float,
    seed: int = 0,
) -> int:
    """The allowed point that is most accurate over resamples of the rows, each call priced at `min_gain` right answers.

    Near its top the accuracy is flat, and the highest point of a thousand rows is mostly noise. So the best point is
    found on each bootstrap resample, and what is taken is the point that keeps the mean number of rows (bagging:
    Breiman, Machine Learning 1996), among those whose value is within one standard error, of the paired difference,
    of the best: a mean of two separate optima can fall into the valley between them.
    """
    conf = np.nan_to_num(np.asarray(confidence, dtype=np.float64), nan=-1.0)
    small, deferred = np.asarray(small_right, dtype=np.float64), np.asarray(deferred_right, dtype=np.float64)
    # Sorted by all that matters, so that the order of the rows changes nothing.
    order = np.lexsort((deferred, small, -conf))
    gain = (small - deferred)[order] + min_gain  # of keeping a row
    points = np.flatnonzero(allowed)
    kept = curve.kept[points]

    def values(weighted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each point, for one row of weights or many: the sum over what it keeps."""
        none = np.zeros((*weighted.shape[:-1], 1))
        return np.concatenate([none, np.cumsum(weighted, axis=-1)], axis=-1)[..., kept]

    def best(value: NDArray[np.float64]) -> NDArray[np.intp]:
        near_top = value >= value.max(axis=-1, keepdims=True) - 1e-9
        return np.asarray(np.where(near_top, kept, -1).argmax(axis=-1), dtype=np.intp)

    rng = np.random.default_rng(seed)
    shares = np.full(curve.n, 1 / curve.n)
    at_once = max(1, MOST_CELLS // curve.n)
    optima: list[int] = []
    while len(optima) < RESAMPLES:
        draws = rng.multinomial(curve.n, shares, size=min(at_once, RESAMPLES - len(optima)))
        optima += kept[best(values(gain * draws))].tolist()

    value = values(gain)
    top = best(value)
    behind = value[top] - value
    spread = np.abs(values(gain**2) - values(gain**2)[top]) - behind**2 / curve.n
    near = np.flatnonzero(behind <= np.sqrt(np.maximum(spread, 0.0)) + 1e-9)
    away = np.abs(kept[near] - np.mean(optima))
    return int(points[near[np.lexsort((-kept[near], away))[0]]])
