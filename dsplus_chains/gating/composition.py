"""Choosing one of several models by foreseen scores and costs, and what such a choice is worth. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from dsplus_chains.calibration.intervals import Interval
from dsplus_chains.schema import InfeasibleTargetError, InvalidInputError, brief_repr, share

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TRADEOFFS = 30
"""Number of points of a curve, from the best scores to the lowest cost."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Constant:
    """What always asking one model is worth.

    Args:
        model: Its name.
        score: Its mean score.
        cost: Its cost a call.
    """

    model: str
    score: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class TradeoffPoint:
    """What choosing with one tradeoff is worth.

    Args:
        tradeoff: The score that a unit of cost must bring.
        score: Mean score.
        cost: Mean cost.
    """

    tradeoff: float
    score: float
    cost: float


@brief_repr
@dataclass(frozen=True, kw_only=True)
class CompositionReport:
    """What choosing a model for each input is worth, measured out of fold.

    Args:
        n: Number of rows. These are the rows where the chosen model and the best single one have a score.
        tradeoff: The score that a unit of cost must bring.
        score: Mean score of the chosen models.
        cost: Their mean cost.
        best_single: The one model with the best mean score.
        difference: The mean score less that of the best single model.
        interval: Its 95 % interval, by paired rows.
        random_at_equal_cost: The best mean score of models drawn by lot, without looking at the input, at this cost.
        oracle: The mean of the best score of each row.
        recoverable: Share of all rows on which some model does better than the best single one.
        recovered: Share of the recoverable ones on which the chosen model does better than it, too.
        shares: How often each model is chosen.
        curve: The same choice at other tradeoffs, from the best score to the lowest cost.
    """

    n: int
    tradeoff: float
    score: float
    cost: float
    best_single: Constant
    difference: float
    interval: Interval
    random_at_equal_cost: float
    oracle: float
    recoverable: float
    recovered: float | None
    shares: dict[str, float]
    curve: tuple[TradeoffPoint, ...]

    def __str__(self) -> str:
        """A few lines for people."""
        best, around = self.best_single, self.interval
        recovered = "" if self.recovered is None else f", of which {share(self.recovered)} are recovered"
        chosen = ", ".join(f"{name} {share(part)}" for name, part in self.shares.items() if part)
        return (
            f"score {self.score:.4f} at a cost of {self.cost:.4g} a call, {self.n} rows out of fold\n"
            f"best single model, {best.model}: {best.score:.4f} at {best.cost:.4g}\n"
            f"difference: {self.difference:+.4f} (95 %: {around.low:+.4f} to {around.high:+.4f})\n"
            f"drawn by lot at equal cost: {self.random_at_equal_cost:.4f}; best of each row: {self.oracle:.4f}\n"
            f"another model does better than the best single one on {share(self.recoverable)} of rows{recovered}\n"
            f"chosen: {chosen}"
        )


def preference(expected: Floats, costs: Floats, tradeoff: float) -> Integers:
    """The models in the order in which they should be asked, for each row.

    Args:
        expected: Foreseen scores of shape [n, models].
        costs: The cost of a call of each model.
        tradeoff: The score that a unit of cost must bring.

    Returns:
        Numbers of models, of shape [n, models]. Of equals, the cheaper one comes first, then the one that is named
        first.

    Source: argmax of the foreseen score less the weighed cost, as in Tryage (arXiv 2308.11601).

    Example:
        >>> preference(np.array([[0.9, 0.5], [0.6, 0.5]]), np.array([2.0, 1.0]), 0.2).tolist()
        [[0, 1], [1, 0]]
    """
    worth = expected - tradeoff * costs
    cheap = np.broadcast_to(costs, worth.shape)
    order: Integers = np.lexsort((cheap, -worth), axis=1)
    return order


def tradeoff_within(expected: Floats, costs: Floats, cost: float) -> float:
    """The smallest tradeoff with which the chosen models cost at most `cost` on average.

    No score is looked at, so the choice does not make the scores of these rows look better than they are.

    Args:
        expected: Foreseen scores of shape [n, models].
        costs: The cost of a call of each model.
        cost: The mean cost that is allowed.

    Raises:
        InfeasibleTargetError: Even the cheapest model costs more.

    Example:
        >>> expected, costs = np.array([[0.9, 0.5], [0.6, 0.5]]), np.array([2.0, 1.0])
        >>> [round(tradeoff_within(expected, costs, cost), 3) for cost in (2.0, 1.5, 1.0)]
        [0.0, 0.1, 0.4]
    """
    if cost < costs.min():
        msg = f"Got a mean cost of {cost:g} but expected at least {costs.min():g}, the cost of the cheapest model"
        raise InfeasibleTargetError(msg)

    def spent(tradeoff: float) -> float:
        return float(costs[preference(expected, costs, tradeoff)[:, 0]].mean())

    if spent(0.0) <= cost:
        return 0.0
    low, high = 0.0, 1.0
    while spent(high) > cost:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= cost else (middle, high)
    return high


def at_equal_cost(scores: Floats, costs: Floats, cost: float) -> float:
    """The best mean score of models that are drawn by lot, at a mean cost of at most `cost`.

    Two models are mixed at most. It is the upper hull of their mean scores over their costs.

    Args:
        scores: The mean score of each model.
        costs: The cost of a call of each.
        cost: The mean cost that is allowed. If it is below the cheapest model's, that model stands.

    Example:
        >>> at_equal_cost(np.array([0.5, 0.9, 0.4]), np.array([1.0, 3.0, 2.0]), 2.0)
        0.7
    """
    allowed = max(cost, float(costs.min()))
    best = float(scores[costs <= allowed].max())
    for low in np.flatnonzero(costs <= allowed):
        for high in np.flatnonzero(costs > allowed):
            part = (allowed - costs[low]) / (costs[high] - costs[low])
            best = max(best, float((1 - part) * scores[low] + part * scores[high]))
    return best


def fit_honesty(expected: Floats, scores: Floats, chosen: Integers) -> tuple[float, float]:
    """How the foreseen score of the chosen model reads as what it will get: intercept and slope.

    A model is chosen where its score was foreseen too high, so the foreseen score of a chosen model is optimistic.

    Args:
        expected: Foreseen scores of shape [n, models], from fits that had not seen the row.
        scores: Scores of shape [n, models], NaN where there is none.
        chosen: The number of the chosen model of each row.

    Example:
        >>> expected = np.array([[0.8, 0.1], [0.4, 0.3]])
        >>> line = fit_honesty(expected, np.array([[0.6, 0.0], [0.2, 0.0]]), np.array([0, 0]))
        >>> [round(part, 6) for part in line]
        [-0.2, 1.0]
    """
    rows = np.arange(len(chosen))
    foreseen, found = expected[rows, chosen], scores[rows, chosen]
    known = np.isfinite(found)
    foreseen, found = foreseen[known], found[known]
    spread = float(((foreseen - foreseen.mean()) ** 2).sum()) if len(foreseen) else 0.0
    if spread < 1e-12:
        return (float(found.mean()), 0.0) if len(found) else (0.0, 1.0)
    slope = float(((foreseen - foreseen.mean()) * (found - found.mean())).sum()) / spread
    return float(found.mean() - slope * foreseen.mean()), slope


def report_composition(
    expected: Floats, scores: Floats, costs: Floats, *, names: Sequence[str], tradeoff: float
) -> CompositionReport:
    """Measure what choosing a model for each row is worth.

    Args:
        expected: Foreseen scores of shape [n, models], from fits that had not seen the row.
        scores: Scores of shape [n, models], NaN where there is none.
        costs: The cost of a call of each model.
        names: The names of the models.
        tradeoff: The score that a unit of cost must bring.

    Raises:
        InvalidInputError: On no row the chosen model and the best single one both have a score.
    """
    tried = np.isfinite(scores).any(axis=0)
    means = np.full(len(costs), -np.inf)
    means[tried] = np.nanmean(scores[:, tried], axis=0)
    best = int(means.argmax())
    chosen = preference(expected, costs, tradeoff)[:, 0]
    got, single = scores[np.arange(len(scores)), chosen], scores[:, best]
    known = np.isfinite(got) & np.isfinite(single)
    n = int(known.sum())
    if not n:
        msg = (
            f"Got no row with a score of the chosen model and of {names[best]!r}, the best single one, but expected "
            "some to compare them on; score models on the same texts, or take another tradeoff"
        )
        raise InvalidInputError(msg)
    most = np.nanmax(scores, axis=1, initial=-np.inf, where=np.isfinite(scores))
    better = known & (most > single)
    difference = (got - single)[known]
    around = float(t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5) if n > 1 else float("inf")
    middle = float(difference.mean())
    cost = float(costs[chosen].mean())
    return CompositionReport(
        n=n,
        tradeoff=tradeoff,
        score=float(got[known].mean()),
        cost=cost,
        best_single=Constant(model=names[best], score=float(single[known].mean()), cost=float(costs[best])),
        difference=middle,
        interval=Interval(low=middle - around, high=middle + around),
        random_at_equal_cost=at_equal_cost(means[tried], costs[tried], cost),
        oracle=float(most[np.isfinite(most)].mean()),
        recoverable=float(better.mean()),
        recovered=float((got > single)[better].mean()) if better.any() else None,
        shares={name: float((chosen == number).mean()) for number, name in enumerate(names)},
        curve=_curve(expected, scores, costs),
    )


def _curve(expected: Floats, scores: Floats, costs: Floats) -> tuple[TradeoffPoint, ...]:
    """Points from tradeoff 0 to where the cheapest model is always chosen. Tradeoffs that choose alike count once."""
    spread, gaps = float(np.ptp(expected)), np.diff(np.unique(costs))
    if not len(gaps):
        tradeoffs = np.zeros(1)
    else:
        most = 1.01 * spread / float(gaps.min()) + 1e-12
        tradeoffs = np.concatenate([[0.0], np.geomspace(most / 1000, most, TRADEOFFS - 1)])
    points: dict[float, TradeoffPoint] = {}
    for tradeoff in tradeoffs.tolist():
        chosen = preference(expected, costs, tradeoff)[:, 0]
        got, cost = scores[np.arange(len(scores)), chosen], float(costs[chosen].mean())
        if np.isfinite(got).any():
            points.setdefault(cost, TradeoffPoint(tradeoff=tradeoff, score=float(np.nanmean(got)), cost=cost))
    return tuple(points.values())
