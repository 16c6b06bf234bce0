"""Choose a point of an operating curve among those that are allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.evaluation.curve import OperatingCurve

RESAMPLES = 200
"""Number of bootstrap resamples behind the most accurate point."""
MOST_CELLS = 2_000_000
"""At most this many resampled rows are held in memory at once."""


def cheapest(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of least cost. Ties go to the most accurate point, then to the one that keeps most."""
    points = np.flatnonzero(allowed)
    return int(points[np.lexsort((-curve.kept[points], -curve.accuracy[points], curve.cost[points]))[0]])


def most_accurate(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of highest accuracy on the rows as they are. Ties go to the one that keeps most."""
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
    expected: ArrayLike | None = None,
    seed: int = 0,
) -> int:
    """The allowed point that is most accurate over resamples of the rows. Each call costs `min_gain` right answers.

    Near its top the accuracy is flat, and the highest point of a thousand rows is mostly noise. So the best point is
    found on each bootstrap resample (bagging: Breiman, Machine Learning 1996). The aim is the mean number of rows that
    these points keep. But the mean of two separate optima can fall into the valley between them. So only points near
    the best value are candidates. Near means within one standard error of the paired difference. The candidate closest
    to the aim is taken.

    Of equals, the one that keeps most is taken. With fusion, a call mostly changes nothing, so equals are many. Then
    `expected` decides among them.

    Args:
        curve: What each threshold means on the tuning rows.
        allowed: Which points may be taken.
        confidence: The small model's confidence in each row. Rows where it is missing (NaN) are deferred anyway.
        small_right: Whether the small model is right.
        deferred_right: Whether the answer would be right if the row were deferred.
        min_gain: Price of a call, in right answers.
        expected: What deferring each row is expected to gain, in right answers, less the price of a call.
        seed: Seed of the bootstrap.
    """
    conf = np.nan_to_num(np.asarray(confidence, dtype=np.float64), nan=-1.0)
    small, deferred = np.asarray(small_right, dtype=np.float64), np.asarray(deferred_right, dtype=np.float64)
    # The rows are sorted by all that matters, so that their order changes nothing.
    order = np.lexsort((deferred, small, -conf))
    gain = (small - deferred)[order] + min_gain  # gain of keeping a row
    hoped = np.zeros(curve.n) if expected is None else np.asarray(expected, dtype=np.float64)[order]
    points = np.flatnonzero(allowed)
    kept = curve.kept[points]

    def values(weighted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of each point, which is the sum over what it keeps, for one row of weights or many."""
        none = np.zeros((*weighted.shape[:-1], 1))
        return np.concatenate([none, np.cumsum(weighted, axis=-1)], axis=-1)[..., kept]

    def best(value: NDArray[np.float64]) -> NDArray[np.intp]:
        near_top = value >= value.max(axis=-1, keepdims=True) - 1e-9
        return np.asarray(np.where(near_top, rank, -1).argmax(axis=-1), dtype=np.intp)

    rank = np.empty(len(points), dtype=np.intp)
    rank[np.lexsort((kept, values(-hoped).round(9)))] = np.arange(len(points))
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
    return int(points[near[np.lexsort((-rank[near], away))[0]]])
