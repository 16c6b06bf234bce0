"""Certify thresholds. Their grid and the order of testing are fixed before any row is seen."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.risk import binomial_p_value, certify, excess_p_value
from dsplus_chains.evaluation.curve import OperatingCurve

Risk: TypeAlias = Literal["chain", "kept", "excess"]
"""What `max_risk` bounds. "chain" is the error of the whole chain over all inputs. "kept" is the error among kept
inputs. "excess" is by how much the chain's error over all inputs exceeds the large model's."""

GRID: tuple[float | None, ...] = (
    None,
    *(round(1 - step * 10.0**-digits, 7) for digits in (6, 5, 4, 3) for step in range(1, 10)),
    *(round(0.99 - step / 100, 2) for step in range(99)),
    0.0,
)
"""The thresholds that can be certified, falling: None, 0.999999 … 0.9999, … 0.991, 0.99, 0.98 … 0.01, 0.

Learn-then-Test needs thresholds chosen before the rows are seen. The confidences of the tuning rows would come too
late.
"""

STARTS: dict[Risk, dict[float | None, float]] = {
    "chain": dict.fromkeys((None, 0.99, 0.9, 0.7, 0.4, 0.0), 1 / 6),
    "kept": dict.fromkeys((0.99, 0.9, 0.7, 0.4, 0.0), 1 / 5),
    "excess": {None: 1.0},
}
"""Where testing starts, and with which share of delta. From each start it goes on to lower thresholds.

The chain's risk may fall and rise again along the grid. A single sequence from the top would stop at once where the
large model alone misses the target. Without fusion, the excess is 0 where everything is deferred, so one start is
enough.
"""


def certified_points(
    curve: OperatingCurve, *, risk: Risk, max_risk: float, delta: float, replacing: bool = True
) -> NDArray[np.bool_]:
    """Which points of a curve over `GRID` have a true risk of at most `max_risk`.

    With probability at least 1 - delta over the tuning rows, no point is certified wrongly. So any choice among the
    certified points keeps the guarantee. For multiplicity, the fallback procedure of `calibration.risk.certify` goes
    down the grid from `STARTS`. `replacing` says that the large model's answer is the last word.
    """
    if risk == "chain":
        p_values = binomial_p_value(curve.errors, curve.n, max_risk)
    elif risk == "kept":
        p_values = binomial_p_value(curve.kept - curve.kept_right, curve.kept, max_risk)
    else:
        p_values = excess_p_value(curve.worse, curve.better, curve.n, max_risk)
        # Without fusion, the chain is compared with deferring everything, so that point needs no test.
        p_values[[replacing and point is None for point in curve.thresholds]] = 0.0
    weights = [STARTS[risk].get(point, 0.0) for point in curve.thresholds]
    return certify(p_values, weights, delta)


def smallest_certifiable(
    curve: OperatingCurve, allowed: NDArray[np.bool_], *, risk: Risk, delta: float, replacing: bool = True
) -> tuple[float, NDArray[np.bool_]] | None:
    """The least `max_risk` (to 0.0001) at which some allowed point is certified, with those points. None if never."""
    steps = 10_000
    low, high = -1, steps  # step -1 certifies nothing, and step `steps` means a risk of 1
    while high - low > 1:
        middle = (low + high) // 2
        found = certified_points(curve, risk=risk, max_risk=middle / steps, delta=delta, replacing=replacing) & allowed
        low, high = (low, middle) if found.any() else (middle, high)
    if high == steps:
        return None
    points = certified_points(curve, risk=risk, max_risk=high / steps, delta=delta, replacing=replacing)
    return high / steps, points & allowed
