"""Measure each of the two models, and the systems that a chain is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.intervals import Interval, paired_difference_interval
from dsplus_chains.calibration.metrics import (
    adaptive_calibration_error,
    aurc,
    brier_score,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage_curve,
)
from dsplus_chains.evaluation.answers import number, right_answers
from dsplus_chains.evaluation.curve import operating_curve, thinned
from dsplus_chains.evaluation.evaluation import Baseline
from dsplus_chains.schema import Prediction, deciding_confidence, same_label

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SmallModelReport:
    """The small model's part of an `Evaluation`, which describes the fields."""

    expected_calibration_error: float | None
    adaptive_calibration_error: float | None
    brier_score: float | None
    negative_log_likelihood: float | None
    aurc: float
    reliability: tuple[Mapping[str, float | None], ...]
    risk_coverage: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LargeModelReport:
    """The large model's part of an `Evaluation`, which describes the fields."""

    accuracy: float
    gain: Interval
    baselines: Mapping[str, Baseline]
    curve: tuple[Mapping[str, float | None], ...]


def confidences(predictions: Sequence[Prediction], max_ood_score: float | None = None) -> Floats:
    """The confidence that a threshold decides by, for each row. NaN where the row is deferred at any threshold.

    Example:
        >>> near, far = (Prediction(label="a", confidence=0.9, ood_score=score) for score in (0.1, 0.7))
        >>> confidences([near, far], 0.5)
        array([0.9, nan])
    """
    return np.array([deciding_confidence(row, max_ood_score) for row in predictions], dtype=np.float64)


def measure_small(predictions: Sequence[Prediction], labels: Sequence[Any], *, n_bins: int) -> SmallModelReport:
    """Measure whether the small model's confidence means what it says and puts right answers first."""
    confidence = confidences(predictions)
    right = right_answers([row.label for row in predictions], labels, what="predictions")
    known = ~np.isnan(confidence)
    conf, correct = confidence[known], right[known]
    bins = reliability_bins(conf, correct, n_bins=n_bins)
    risks = risk_coverage_curve(confidence, right)
    rows = [row for row, prediction in enumerate(predictions) if prediction.probabilities]
    columns = list(dict.fromkeys(label for row in rows for label in predictions[row].probabilities or ()))
    index = {label: column for column, label in enumerate(columns)}
    table = np.zeros((len(rows), len(columns)))
    for place, row in enumerate(rows):
        for label, probability in (predictions[row].probabilities or {}).items():
            table[place, index[label]] = probability
    targets = [index.get(labels[row], -1) for row in rows]
    notes = []
    if not known.all():
        notes.append(f"calibration error: {(~known).sum()} rows without a confidence are left out")
    if len(rows) < len(labels):
        notes.append(f"Brier score, log-likelihood: {len(labels) - len(rows)} rows without probabilities are left out")
    if -1 in targets:
        notes.append(f"{targets.count(-1)} rows have a label that the small model does not know")
    return SmallModelReport(
        expected_calibration_error=bins.error if known.any() else None,
        adaptive_calibration_error=adaptive_calibration_error(conf, correct, n_bins=n_bins) if known.any() else None,
        brier_score=brier_score(table, targets) if rows else None,
        negative_log_likelihood=negative_log_likelihood(table, targets) if rows else None,
        aurc=aurc(confidence, right),
        reliability=tuple(
            {"count": int(count), "confidence": number(mean), "accuracy": number(share)}
            for count, mean, share in zip(bins.count, bins.confidence, bins.accuracy, strict=True)
        ),
        risk_coverage=tuple(
            {
                "threshold": float(risks.threshold[point]),
                "coverage": float(risks.coverage[point]),
                "risk": float(risks.risk[point]),
            }
            for point in thinned(len(risks.risk))
        ),
        notes=tuple(notes),
    )


def measure_large(
    large_answers: Sequence[Any],
    labels: Sequence[Any],
    *,
    fused: Sequence[Prediction | None],
    chain_right: Flags,
    small_right: Flags,
    asked: Flags,
    confidence: Floats,
    level: float,
) -> LargeModelReport:
    """Measure the large model alone, systems without a threshold that use it, and the chain at other thresholds."""
    large_right = right_answers(large_answers, labels, what="large answers")
    # Where the large model fails, the chain falls back on the small one.
    deferred_right = np.where([answer is None for answer in large_answers], small_right, large_right)
    for row, both in enumerate(fused):
        if both is not None:
            deferred_right[row] = same_label(both.label, labels[row])
    escalation_rate = float(asked.mean())
    random = (1 - escalation_rate) * small_right.mean() + escalation_rate * deferred_right.mean()
    # What the chain has said of a row that it deferred needs no guess. Its prompt may have differed.
    curve = operating_curve(confidence, small_right, np.where(asked, chain_right, deferred_right))
    return LargeModelReport(
        accuracy=float(large_right.mean()),
        gain=paired_gain(chain_right, large_right, level),
        baselines={
            "always_large": Baseline(accuracy=float(large_right.mean()), escalation_rate=1.0),
            "random_at_equal_cost": Baseline(accuracy=float(random), escalation_rate=escalation_rate),
            "oracle": Baseline(
                accuracy=float((small_right | large_right).mean()),
                escalation_rate=float((large_right & ~small_right).mean()),
            ),
        },
        curve=tuple(
            {
                "threshold": curve.thresholds[point],
                "escalation_rate": float(curve.escalation_rate[point]),
                "accuracy": float(curve.accuracy[point]),
            }
            for point in thinned(len(curve.thresholds))
        ),
    )


def paired_gain(first: Flags, second: Flags, level: float) -> Interval:
    """Interval for the accuracy of one system minus another's on the same rows."""
    wins, losses = int((first & ~second).sum()), int((~first & second).sum())
    return paired_difference_interval(wins, losses, len(first), level=level)
