"""Choose a point of an operating curve among those that are allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import logit

from dsplus_chains.evaluation.curve import OperatingCurve

RESAMPLES = 200
"""Number of bootstrap resamples behind the most accurate point."""
MOST_CELLS = 2_000_000
"""At most this many resampled rows are held in memory at once."""
LEAST_PRICE = 1e-5
"""Least price of a call, in right answers. A call that is expected to gain less gains nothing. The expectation itself
is never zero."""
SMALLEST_DOUBT = 1e-6
"""It keeps the log-odds of a confidence of 1, and the logarithm of a gain of 0, finite."""


def cheapest(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of least cost. Ties go to the most accurate point, then to the one that keeps most."""
    points = np.flatnonzero(allowed)
    return int(points[np.lexsort((-curve.kept[points], -curve.accuracy[points], curve.cost[points]))[0]])


def most_accurate(curve: OperatingCurve, allowed: NDArray[np.bool_]) -> int:
    """The allowed point of highest accuracy on the rows as they are. Ties go to the one that keeps most."""
    points = np.flatnonzero(allowed)
    return int(points[np.lexsort((-curve.kept[points], -curve.accuracy[points]))[0]])


def where_calls_pay(
    curve: OperatingCurve, allowed: NDArray[np.bool_], confidence: ArrayLike, gains: ArrayLike, *, price: float
) -> int:
    """The allowed point up to which a call is expected to be worth its price.

    With fusion, deferring a row hardly ever loses a right answer, but mostly gains nothing. Counts then leave long
    stretches in which no call happened to pay. So the expected gain of a call is fitted. It falls steadily with the
    small model's confidence (see `falling_gain`). Calls pay as long as it is at least `price`.

    Args:
        curve: What each threshold means on the tuning rows.
        allowed: Which points may be taken.
        confidence: The small model's confidence in each row. Rows where it is missing (NaN) are deferred anyway.
        gains: Gain of deferring each row, in right answers.
        price: Price of a call, in right answers.
    """
    conf = np.asarray(confidence, dtype=np.float64)
    known = np.isfinite(conf)
    log_odds = logit(np.clip(conf[known], SMALLEST_DOUBT, 1 - SMALLEST_DOUBT))
    level, slope = falling_gain(log_odds, np.asarray(gains, dtype=np.float64)[known])
    # The surest rows come first, as thresholds keep them.
    worth_keeping = np.cumsum(max(price, LEAST_PRICE) - np.exp(level - slope * np.sort(log_odds)[::-1]))
    points = np.flatnonzero(allowed)
    kept = curve.kept[points]
    value = np.concatenate([[0.0], worth_keeping])[kept]
    return int(points[np.lexsort((-kept, -value))[0]])


def falling_gain(log_odds: NDArray[np.float64], gains: NDArray[np.float64]) -> tuple[float, float]:
    """Level and slope of the expected gain of deferring a row, exp(level - slope * log-odds).

    The slope is at least 0. The method is a Poisson regression with a logarithmic link. It is consistent for any gains
    whose mean has this form (Gourieroux, Monfort and Trognon, Econometrica 1984). The gains may be fractions.

    Args:
        log_odds: Log-odds of the small model's confidence in each row. May be empty.
        gains: Gain of deferring each row, in right answers.

    Example:
        >>> level, slope = falling_gain(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0.5, 0.3, 0.1, 0.1]))
        >>> [round(float(np.exp(level - slope * x)), 3) for x in (0, 2)]
        [0.4, 0.1]
    """
    if not len(gains):
        return 0.0, 0.0

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logs = values[0] - values[1] * log_odds
        expected = np.exp(logs)
        excess = expected - gains
        return float((expected - gains * logs).mean()), np.array([excess.mean(), -(excess * log_odds).mean()])

    start = [np.log(max(gains.mean(), SMALLEST_DOUBT)), 0.0]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-20, 5), (0, 10)], options={"ftol": 1e-14})
    return float(found.x[0]), float(found.x[1])


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
    """The allowed point that is most accurate over resamples of the rows. Each call costs `min_gain` right answers.

    Near its top the accuracy is flat, and the highest point of a thousand rows is mostly noise. So the best point is
    found on each bootstrap resample (bagging: Breiman, Machine Learning 1996). The aim is the mean number of rows that
    these points keep. But the mean of two separate optima can fall into the valley between them. So only points near
    the best value are candidates. Near means within one standard error of the paired difference. The candidate closest
    to the aim is taken.
    """
    conf = np.nan_to_num(np.asarray(confidence, dtype=np.float64), nan=-1.0)
    small, deferred = np.asarray(small_right, dtype=np.float64), np.asarray(deferred_right, dtype=np.float64)
    # The rows are sorted by all that matters, so that their order changes nothing.
    order = np.lexsort((deferred, small, -conf))
    gain = (small - deferred)[order] + min_gain  # gain of keeping a row
    points = np.flatnonzero(allowed)
    kept = curve.kept[points]

    def values(weighted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of each point, which is the sum over what it keeps, for one row of weights or many."""
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
