"""The points of an operating curve as objects, and the error where no point will do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.evaluation.answers import number
from dsplus_chains.evaluation.curve import OperatingCurve
from dsplus_chains.schema import InfeasibleTargetError, share
from dsplus_chains.tuning.certify import Risk, smallest_certifiable
from dsplus_chains.tuning.select import cheapest, most_accurate
from dsplus_chains.tuning.tuned import OperatingPoint


def infeasible(
    curve: OperatingCurve,
    allowed: NDArray[np.bool_],
    bounds: dict[str, float],
    *,
    risk: Risk,
    delta: float,
    replacing: bool,
    matching: bool,
) -> InfeasibleTargetError:
    """The error that says what was asked for, why it cannot be had, and the nearest point that can.

    Args:
        curve: What each threshold means on the tuning rows.
        allowed: Which points meet the bounds on these rows.
        bounds: The bounds that were asked for, by name.
        risk: What `max_risk` bounds.
        delta: The chance that the guarantee may fail.
        replacing: Whether the large model's answer is the last word.
        matching: Whether the chain had to match the large model.
    """
    wanted = ", ".join(
        [*(["objective='match_large'"] if matching else []), *(f"{name}={value:g}" for name, value in bounds.items())]
    )
    if not allowed.any() and matching:
        nearest = most_accurate(curve, np.ones_like(allowed))
        point = operating_points(curve, None)[nearest]
        reason = (
            f"no point that these allow is as accurate as the large model on these rows; the most accurate one of all "
            f"is right on {share(point.accuracy)} at {share(point.escalation_rate)} escalated"
        )
        return InfeasibleTargetError(f"Got {wanted}, but {reason}", target=bounds, nearest=point)
    if not allowed.any():
        nearest = cheapest(curve, np.ones_like(allowed))
        point = operating_points(curve, None)[nearest]
        reason = f"the cheapest point escalates {share(point.escalation_rate)} at a cost of {point.cost:g} an input"
        return InfeasibleTargetError(f"Got {wanted}, but {reason}", target=bounds, nearest=point)
    found = smallest_certifiable(curve, allowed, risk=risk, delta=delta, replacing=replacing)
    if found is None:
        nearest = most_accurate(curve, allowed)
        reason = f"{curve.n} rows certify no risk below 1; use more rows"
        return InfeasibleTargetError(
            f"Got {wanted}, but {reason}", target=bounds, nearest=operating_points(curve, None)[nearest]
        )
    least, points = found
    nearest = cheapest(curve, points)
    reason = f"the least risk that {curve.n} rows can certify (risk={risk!r}, delta={delta:g}) is {least:.4f}"
    message = f"Got {wanted}, but {reason}, at threshold {curve.thresholds[nearest]}; relax the bound or use more rows"
    return InfeasibleTargetError(message, target=bounds, nearest=operating_points(curve, points)[nearest])


def operating_points(
    curve: OperatingCurve, certified: NDArray[np.bool_] | None, places: Sequence[int] | None = None
) -> tuple[OperatingPoint, ...]:
    """The points of a curve, with whether each is certified. That is None where no certificate was asked for.

    Args:
        curve: What each threshold means on the tuning rows.
        certified: Which points are certified.
        places: The points that are wanted. None: all.
    """
    places = range(len(curve.thresholds)) if places is None else places
    certificates = [None] * len(curve.thresholds) if certified is None else certified.tolist()
    return tuple(
        OperatingPoint(
            threshold=curve.thresholds[place],
            escalation_rate=escalation_rate,
            accuracy=accuracy,
            kept_accuracy=number(kept_accuracy),
            cost=cost,
            certified=certificates[place],
        )
        for place, escalation_rate, accuracy, kept_accuracy, cost in zip(
            places,
            *(
                column[list(places)].tolist()
                for column in (curve.escalation_rate, curve.accuracy, curve.kept_accuracy, curve.cost)
            ),
            strict=True,
        )
    )
