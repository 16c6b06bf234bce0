"""Metrics of a confidence. Does it mean what it says, and does it put the right answers first?

`confidence` is an array of numbers in [0, 1]. `correct` says row by row whether the most likely label was right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]

SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""A probability of 0 counts as this in the negative log-likelihood, as in scikit-learn's `log_loss`."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBins:
    """Rows binned by confidence, as a reliability diagram shows them.

    Args:
        count: Number of rows in each bin.
        confidence: Mean confidence in each bin, NaN where it is empty.
        accuracy: Share of right rows in each bin, NaN where it is empty.
    """

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Mean absolute gap between confidence and accuracy over rows. NaN without rows."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.confidence[filled] - self.accuracy[filled])
        return float(np.average(gaps, weights=self.count[filled]))


@dataclass(frozen=True, kw_only=True)
class RiskCoverageCurve:
    """What keeping only the rows with ``confidence >= threshold`` means, for each distinct confidence.

    Args:
        threshold: The distinct confidences, falling.
        coverage: Share of all rows kept, rising.
        risk: Share of wrong rows among those kept.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 15, equal_mass: bool = False
) -> ReliabilityBins:
    """Put rows into exactly `n_bins` bins by confidence.

    Args:
        confidence: One number in [0, 1] a row.
        correct: Whether the row's most likely label was right.
        n_bins: How many bins.
        equal_mass: Use bins of (nearly) equal numbers of rows instead of equal width. Rows with equal confidence share
            a bin, so the result does not depend on the order of the rows.

    Raises:
        ValueError: The lengths differ, a confidence is missing or outside [0, 1], or `n_bins` is below 1.
    """
    conf, right = _pair(confidence, correct)
    if n_bins < 1:
        msg = f"Got n_bins={n_bins} but expected at least 1"
        raise ValueError(msg)
    if not ((conf >= 0) & (conf <= 1)).all():
        msg = "Got a confidence that is missing or outside [0, 1]; leave rows without a confidence out"
        raise ValueError(msg)
    if equal_mass:
        share = (rankdata(conf, method="average") - 0.5) / max(len(conf), 1)
        index = np.minimum((share * n_bins).astype(np.int64), n_bins - 1)
    else:
        # Only the inner edges are used, so 1.0 falls into the last bin instead of one of its own.
        index = np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], conf, side="right")
    count = np.bincount(index, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityBins(
            count=count.astype(np.int64),
            confidence=np.bincount(index, weights=conf, minlength=n_bins) / count,
            accuracy=np.bincount(index, weights=right, minlength=n_bins) / count,
        )


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over `n_bins` bins of equal width. NaN without rows.

    Source: Guo et al. (ICML 2017), equation 3, after Naeini, Cooper, Hauskrecht (AAAI 2015). A bin holds its lower
    edge. The last bin also holds 1.0.

    Example:
        >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False], n_bins=10), 2)
        0.1
    """
    return reliability_bins(confidence, correct, n_bins=n_bins).error


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of equal numbers of rows. NaN without rows.

    These bins do not hide a crowd of confidences near 1.

    Source: Nixon et al., "Measuring Calibration in Deep Learning" (CVPR workshops 2019), section 3.2, for the most
    likely label.
    """
    return reliability_bins(confidence, correct, n_bins=n_bins, equal_mass=True).error


def brier_score(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the truth, summed over labels, from 0 to 2. NaN without rows.

    Source: Brier (Monthly Weather Review, 1950), equation 2. A target of -1 stands for a label without a column. Its
    missing probability counts as 0.

    Example:
        >>> brier_score([[0.8, 0.2], [0.4, 0.6]], [0, 0])
        0.4
    """
    rows, true = _table(probabilities, targets)
    if not len(rows):
        return float("nan")
    of_true = _of_true(rows, true)
    return float(np.mean((rows**2).sum(axis=1) - 2 * of_true + 1))


def negative_log_likelihood(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean of ``-log(probability of the true label)``, in nats. NaN without rows.

    A target of -1 stands for a label without a column. Its probability counts as 0, and 0 counts as 2.2e-16.
    """
    rows, true = _table(probabilities, targets)
    if not len(rows):
        return float("nan")
    return float(-np.log(np.maximum(_of_true(rows, true), SMALLEST_PROBABILITY)).mean())


def risk_coverage_curve(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverageCurve:
    """Risk and coverage at each distinct confidence. Rows that tie are kept or deferred together.

    A row without a confidence (NaN) is never kept. Coverage then ends below 1.

    Source: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification" (JMLR 2010), section 2.

    Example:
        >>> curve = risk_coverage_curve([0.9, 0.9, 0.6, 0.6, 0.3], [True, False, True, True, False])
        >>> curve.coverage.tolist(), curve.risk.tolist()
        ([0.4, 0.8, 1.0], [0.5, 0.25, 0.4])
    """
    conf, right = _pair(confidence, correct)
    known = ~np.isnan(conf)
    threshold, kept, wrong = _sweep(conf[known], right[known])
    return RiskCoverageCurve(threshold=threshold, coverage=kept / max(len(conf), 1), risk=wrong / kept)


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve. It is the mean, over rows, of the risk among rows at least as confident.

    Rows without a confidence (NaN) count as least confident of all. Lower is better. NaN without rows.

    Source: Geifman, Uziel, El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers" (ICLR 2019),
    section 2. Rows that tie are taken together.

    Example:
        >>> round(aurc([0.9, 0.6, 0.3], [True, True, False]), 4)
        0.1111
    """
    conf, right = _pair(confidence, correct)
    if not len(conf):
        return float("nan")
    _, kept, wrong = _sweep(np.nan_to_num(conf, nan=-np.inf), right)
    return float(np.average(wrong / kept, weights=np.diff(kept, prepend=0)))


def _sweep(confidence: Floats, right: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct confidences, falling, with the rows at or above each. The wrong rows among them are counted too."""
    values, group = np.unique(-confidence, return_inverse=True)
    kept = np.cumsum(np.bincount(group, minlength=len(values)))
    wrong = np.cumsum(np.bincount(group, weights=~right, minlength=len(values))).astype(np.int64)
    return -values, kept, wrong


def _pair(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    conf, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if conf.ndim != 1 or conf.shape != right.shape:
        msg = f"Got confidence of shape {conf.shape} and correct of shape {right.shape} but expected two equal lists"
        raise ValueError(msg)
    return conf, right


def _table(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    rows, true = np.asarray(probabilities, dtype=np.float64), np.asarray(targets, dtype=np.intp)
    if true.ndim != 1 or (len(true) and (rows.ndim != 2 or len(rows) != len(true))):
        msg = f"Got probabilities of shape {rows.shape} for {true.size} targets but expected (n_rows, n_labels)"
        raise ValueError(msg)
    if len(true) and (true.min() < -1 or true.max() >= rows.shape[1]):
        msg = f"Got a target outside -1 to {rows.shape[1] - 1} but expected column indices, -1 for a label without one"
        raise ValueError(msg)
    return rows, true


def _of_true(rows: Floats, true: NDArray[np.intp]) -> Floats:
    return np.where(true < 0, 0.0, rows[np.arange(len(rows)), true])
