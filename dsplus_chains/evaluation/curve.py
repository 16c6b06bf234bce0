"""What each threshold would have meant on given rows. The counts give accuracy, risk and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.schema import brief_repr

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

CURVE_POINTS = 200
"""Most points of a curve that a result keeps."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class OperatingCurve:
    """Counts at each threshold, from "defer everything" (None) to the lowest threshold.

    Args:
        thresholds: The thresholds, falling. None defers everything.
        n: Number of all rows.
        kept: Number of rows with ``confidence >= threshold``.
        kept_right: Number of kept rows where the small model is right.
        deferred_right: Number of rows not kept where what is deferred to is right.
        worse: Number of rows that the chain gets wrong and the reference right.
        better: Number of rows that the chain gets right and the reference wrong.
        cost: Mean cost of an input.
    """

    thresholds: tuple[float | None, ...]
    n: int
    kept: Counts
    kept_right: Counts
    deferred_right: Counts
    worse: Counts
    better: Counts
    cost: Floats

    @property
    def escalation_rate(self) -> Floats:
        """Share of rows deferred."""
        return (self.n - self.kept) / self.n

    @property
    def accuracy(self) -> Floats:
        """Share of rows that the whole chain gets right."""
        return (self.kept_right + self.deferred_right) / self.n

    @property
    def kept_accuracy(self) -> Floats:
        """Share of right rows among those kept. NaN where none is kept."""
        with np.errstate(invalid="ignore"):
            return np.divide(self.kept_right, self.kept)

    @property
    def errors(self) -> Counts:
        """Number of rows that the whole chain gets wrong."""
        return self.n - self.kept_right - self.deferred_right


def operating_curve(
    confidence: ArrayLike,
    small_right: ArrayLike,
    deferred_right: ArrayLike,
    *,
    reference_right: ArrayLike | None = None,
    thresholds: Sequence[float | None] | None = None,
    small_cost: float = 0.0,
    large_cost: ArrayLike = 1.0,
) -> OperatingCurve:
    """Count what each threshold would have kept and got right. A row without a confidence (NaN) is never kept.

    Args:
        confidence: One number a row, NaN where it is missing.
        small_right: Whether the small model is right.
        deferred_right: Whether the answer would be right if the row were deferred.
        reference_right: Whether the answer that the chain is compared with is right. Left out, it is `deferred_right`.
        thresholds: The thresholds, falling, with None first if it is there. Left out, they are `candidate_thresholds`.
        small_cost: Cost of scoring one input, in any unit.
        large_cost: Cost of deferring a row, in the same unit. One number, or one a row.

    Raises:
        ValueError: There are no rows.

    Example:
        >>> curve = operating_curve([0.9, 0.6], [True, False], [True, True])
        >>> curve.thresholds, curve.accuracy.tolist(), curve.escalation_rate.tolist()
        ((None, 0.8, 0.0), [1.0, 1.0, 0.5], [1.0, 0.5, 0.0])
    """
    conf = np.asarray(confidence, dtype=np.float64)
    if not len(conf):
        msg = "Got no rows but expected at least one"
        raise ValueError(msg)
    small, deferred = np.asarray(small_right, dtype=np.bool_), np.asarray(deferred_right, dtype=np.bool_)
    reference = deferred if reference_right is None else np.asarray(reference_right, dtype=np.bool_)
    costs = np.broadcast_to(np.asarray(large_cost, dtype=np.float64), conf.shape)
    points = candidate_thresholds(conf) if thresholds is None else tuple(thresholds)
    order = np.argsort(-conf, kind="stable")  # NaN comes last
    rising = np.sort(conf[~np.isnan(conf)])
    levels = np.array([np.inf if point is None else point for point in points])
    kept = len(rising) - np.searchsorted(rising, levels, side="left")

    def count(flags: Flags) -> Counts:
        return np.concatenate([[0], np.cumsum(flags[order])])[kept]

    def count_rest(flags: Flags) -> Counts:
        rest: Counts = flags.sum() - count(flags)
        return rest

    return OperatingCurve(
        thresholds=points,
        n=len(conf),
        kept=kept.astype(np.int64),
        kept_right=count(small),
        deferred_right=count_rest(deferred),
        worse=count(~small & reference) + count_rest(~deferred & reference),
        better=count(small & ~reference) + count_rest(deferred & ~reference),
        cost=small_cost + (costs.sum() - np.concatenate([[0.0], np.cumsum(costs[order])])[kept]) / len(conf),
    )


def candidate_thresholds(confidence: ArrayLike) -> tuple[float | None, ...]:
    """One threshold for each set of rows that a threshold can keep. None comes first, 0 last.

    The others each lie in the gap between two neighbouring distinct confidences. They have as few digits as the middle
    half of the gap allows. So rounding error in a confidence moves no row across them.

    Example:
        >>> candidate_thresholds([0.91, 0.72, 0.72, float("nan")])
        (None, 0.8, 0.0)
    """
    conf = np.asarray(confidence, dtype=np.float64)
    values = np.unique(conf[~np.isnan(conf)])[::-1]
    inner = [_between(float(low), float(high)) for high, low in pairwise(values)]
    return (None, *inner, *([0.0] if len(values) else []))


def _between(low: float, high: float) -> float:
    middle, quarter = (low + high) / 2, (high - low) / 4
    for digits in range(1, 17):
        rounded = round(middle, digits)
        if low + quarter <= rounded <= high - quarter and low < rounded:
            return rounded
    return high  # nothing lies between neighbouring floats, and `>=` keeps the higher one


def thinned(points: int, *, chosen: int | None = None) -> list[int]:
    """The places of at most `CURVE_POINTS` points of a curve, evenly spread, the first and the last among them.

    Args:
        points: Number of all points.
        chosen: The place of a point that has to be among them.

    Example:
        >>> thinned(3), len(thinned(10**6)), 12_345 in thinned(10**6, chosen=12_345)
        ([0, 1, 2], 200, True)
    """
    places = np.linspace(0, points - 1, min(points, CURVE_POINTS)).round().astype(int)
    if chosen is not None and chosen not in places:
        places[1:-1][np.abs(places[1:-1] - chosen).argmin()] = chosen
    return [int(place) for place in np.unique(places)]
