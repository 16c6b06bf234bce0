"""The guarantee by simulation: over 500 tuning sets the true risk exceeds its bound in at most delta of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from dsplus_chains.evaluation.curve import operating_curve
from dsplus_chains.tuning.certify import GRID, certified_points

TUNING_SETS = 500
POPULATION = 20_000


def population(n_labels: int, kind: str, *, ties: bool):
    """Rows that tuning sets are drawn from with replacement, so that their risk is the true one."""
    rng = np.random.default_rng(n_labels)
    logits = 2 * rng.normal(size=(POPULATION, n_labels))
    logits[:, 0] += rng.exponential(6 if n_labels < 10 else 9, size=POPULATION)
    confidence = softmax(logits, axis=1).max(axis=1)
    small = rng.random(POPULATION) < confidence
    large = rng.random(POPULATION) < {"good large": 0.94, "bad large": 0.75}.get(kind, 0.88)
    if kind == "overconfident":
        confidence = confidence**0.1
    if kind == "waves":
        small = rng.random(POPULATION) < np.where((10 * confidence).astype(int) % 2 == 0, 0.97, 0.85)
    return np.round(confidence, 2) if ties else confidence, small, large


def true_risk(curve, risk):
    if risk == "chain":
        return curve.errors / curve.n
    if risk == "excess":
        return (curve.worse - curve.better) / curve.n
    return 1 - curve.kept_right / np.maximum(curve.kept, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n_labels", "ties"),
    [
        ("good large", 2, True),
        ("good large", 77, False),
        ("bad large", 10, True),
        ("bad large", 77, True),
        ("overconfident", 10, False),
        ("waves", 2, True),
        ("waves", 10, False),
    ],
)
@pytest.mark.parametrize("risk", ["chain", "kept", "excess"])
def test_no_certified_point_exceeds_its_bound_more_often_than_delta(risk, kind, n_labels, ties):
    rows = population(n_labels, kind, ties=ties)
    risks = true_risk(operating_curve(*rows, thresholds=GRID), risk)
    rng = np.random.default_rng(7)
    # Bounds that some thresholds meet and others miss: where nothing is at stake the test would prove nothing.
    settings = [
        (max(float(np.quantile(risks, share)), 0.005), delta, n)
        for share, delta, n in ((0.3, 0.05, 1000), (0.6, 0.1, 300), (0.9, 0.2, 150))
    ]
    violations = np.zeros(len(settings))
    for _ in range(TUNING_SETS):
        for index, (alpha, delta, n) in enumerate(settings):
            drawn = rng.integers(POPULATION, size=n)
            curve = operating_curve(*(column[drawn] for column in rows), thresholds=GRID)
            certified = certified_points(curve, risk=risk, max_risk=alpha, delta=delta)
            # Any point that could be chosen, not only the cheapest.
            violations[index] += (risks[certified & (curve.kept > 0)] > alpha + 1e-12).any()
    for share, (alpha, delta, n) in zip(violations / TUNING_SETS, settings, strict=True):
        assert share <= delta + 3 * np.sqrt(delta * (1 - delta) / TUNING_SETS), (alpha, delta, n)
