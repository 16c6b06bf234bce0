"""The objectives of a threshold and their bounds, checked before any row is read or any model is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import check_choice, clean_answers, is_number, shown
from dsplus_chains.tuning.certify import Risk

Objective: TypeAlias = Literal["accuracy", "match_large", "max_escalation", "max_cost", "max_risk"]


def check_bounds(
    objective: str,
    given: Mapping[str, float | None],
    *,
    delta: float = 0.05,
    risk: str = "chain",
    min_gain: float = 0.05,
    per_label: bool = False,
) -> dict[str, float]:
    """The bounds that are given, if they make sense for this objective.

    Args:
        objective: What to optimise.
        given: The bounds by name: `max_escalation`, `max_cost` and `max_risk`. None where one is not given.
        delta: Chance that a guarantee may fail.
        risk: What `max_risk` bounds.
        min_gain: What a call must gain.
        per_label: Whether each label gets its own threshold.

    Raises:
        ValueError: A name is unknown, or a bound is out of range or missing for its objective.

    Example:
        >>> check_bounds("max_risk", {"max_escalation": None, "max_cost": None, "max_risk": 0.1})
        {'max_risk': 0.1}
    """
    for name, choice, options in (("objective", objective, get_args(Objective)), ("risk", risk, get_args(Risk))):
        check_choice(name, choice, options)
    for name, bound, low, high in (
        ("max_escalation", given["max_escalation"], 0.0, 1.0),
        ("max_cost", given["max_cost"], 0.0, math.inf),
        ("max_risk", given["max_risk"], 0.0, 1.0),
        ("min_gain", min_gain, 0.0, 1.0),
    ):
        if bound is not None and not (is_number(bound, least=low, most=high) and bound < math.inf):
            wanted = "of at least 0; leave it out for no bound" if high == math.inf else f"in [{low:g}, {high:g}]"
            msg = f"Got {name}={shown(bound)} but expected a number {wanted}"
            raise ValueError(msg)
    if not (is_number(delta) and 0 < delta < 1):
        msg = f"Got delta={shown(delta)} but expected a number between 0 and 1, such as 0.05"
        raise ValueError(msg)
    if objective in given and given[objective] is None:
        msg = f"Got objective={objective!r} without a bound but expected {objective}=... beside it"
        raise ValueError(msg)
    bounds = {name: float(value) for name, value in given.items() if value is not None}
    if per_label and (objective != "accuracy" or bounds):
        told = f"objective={objective!r} and {bounds or 'no bound'}"
        msg = f'Got per_label=True with {told} but expected objective="accuracy" and no bound'
        raise ValueError(msg)
    return bounds


def check_costs(large_cost: float | Sequence[float], small_cost: float, n: int) -> NDArray[np.float64]:
    """The cost of deferring each of n rows.

    Args:
        large_cost: Cost of one call of the large model. One number, or one a row.
        small_cost: Cost of scoring one input.
        n: Number of rows.

    Raises:
        ValueError: A cost is missing, negative or infinite, or there is another number of them.
    """
    given: Any = large_cost if np.ndim(large_cost) == 0 else clean_answers(large_cost, "costs")
    costs = np.asarray(given, dtype=np.float64)
    if costs.shape not in {(), (n,)} or not (np.isfinite(costs) & (costs >= 0)).all() or not 0 <= small_cost < np.inf:
        msg = f"Got large_cost={large_cost}, small_cost={small_cost} but expected numbers of at least 0 (one, or {n})"
        raise ValueError(msg)
    return np.broadcast_to(costs, (n,))
