"""What to believe once both models have spoken: p(label | small model's distribution, large model's answer).

The score of a label is a weighted sum of two log-likelihoods: what the small model says of it, and how often the large
model answers what it has just answered where that label is true. The first weight lowers a small model that is too
sure, the second accounts for both models finding the same inputs hard. It is stacking (Wolpert 1992) of a probabilistic
classifier with one that gives labels only, the latter read through its confusion matrix (Dawid and Skene 1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SMOOTHINGS = (3.0, 10.0, 30.0, 100.0, 1e6)
"""How many rows of a label the expectation from all labels may count for; the last leaves nothing else."""
SMALLEST_PROBABILITY = 1e-12
BOUNDS = ((0.05, 3.0), (0.0, 3.0), (-1.0, 1.0))
"""Where the three weights are sought. Without bounds, rows that the models answer perfectly would drive them away."""
PULL = 1e-2
"""How strongly the weight of the large model's confidence is pulled to zero."""


def answer_likelihood(counts: ArrayLike, smoothing: float) -> Floats:
    """How likely the large model gives each answer where each label is true, shrunk to what all labels have in common.

    A label with few rows is expected to behave as the average one: right at the average rate, and where it is wrong,
    answering what is answered often.

    Args:
        counts: Of shape [labels, labels]: rows with that true label (first axis) and that answer (second axis).
        smoothing: For how many rows of each label that expectation counts.

    Returns:
        Probabilities of shape [true label, answer]; each row sums to 1.

    Example:
        >>> answer_likelihood([[9, 1], [0, 0]], 2.0).round(2).tolist()
        [[0.89, 0.11], [0.17, 0.83]]
    """
    table = np.asarray(counts, dtype=np.float64)
    right = (np.trace(table) + 1) / (table.sum() + 2)
    if len(table) == 1:
        return np.ones((1, 1))
    popularity = table.sum(axis=0) + 1
    elsewhere = np.broadcast_to(popularity, table.shape).copy()
    np.fill_diagonal(elsewhere, 0.0)
    expected = (1 - right) * elsewhere / elsewhere.sum(axis=1, keepdims=True)
    np.fill_diagonal(expected, right)
    result: Floats = (table + smoothing * expected) / (table.sum(axis=1, keepdims=True) + smoothing)
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """How a small model's distribution and a large model's answer combine.

    Args:
        counts: Rows of the tuning split by true label and answer, of shape [labels, labels].
        smoothing: See `answer_likelihood`.
        small_weight: Of the small model's log-probabilities.
        large_weight: Of the large model's answer.
        confidence_weight: What a unit more of the large model's own confidence, on the standardised log-odds scale,
            adds to `large_weight`.
        confidence_center: The mean of that confidence, in log-odds.
        confidence_scale: Its standard deviation.
    """

    counts: Integers
    smoothing: float
    small_weight: float
    large_weight: float
    confidence_weight: float = 0.0
    confidence_center: float = 0.0
    confidence_scale: float = 1.0

    def __eq__(self, other: object) -> bool:
        """Whether the two weigh alike."""
        return isinstance(other, Posterior) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        """By its weights."""
        return hash((len(self.counts), self.smoothing, self.small_weight, self.large_weight, self.confidence_weight))

    @cached_property
    def evidence(self) -> Floats:
        """What each answer says for each label, in nats: of shape [answer, label]."""
        return np.ascontiguousarray(np.log(answer_likelihood(self.counts, self.smoothing)).T)

    def log_proba(self, log_small: ArrayLike, answers: Integers, confidences: ArrayLike | None = None) -> Floats:
        """Log-probabilities of the labels, given both.

        Args:
            log_small: The small model's, of shape [n, labels].
            answers: The number of the large model's answer; -1 where there is none, which says nothing.
            confidences: Its own confidence, NaN where it is not known.

        Returns:
            Of shape [n, labels].
        """
        told = np.where((answers >= 0)[:, None], self.evidence[answers], 0.0)
        weight = np.full(len(answers), self.large_weight)
        if confidences is not None:
            shifted = (_log_odds(confidences) - self.confidence_center) / self.confidence_scale
            weight = np.maximum(weight + self.confidence_weight * np.nan_to_num(shifted), 0.0)
        return _normalised(self.small_weight * np.asarray(log_small, dtype=np.float64) + weight[:, None] * told)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; of the counts only those that are not zero, as [true label, answer, count]."""
        rows, columns = np.nonzero(self.counts)
        cells = np.stack([rows, columns, self.counts[rows, columns]], axis=1).tolist()
        return {
            "n_labels": len(self.counts),
            "counts": cells,
            "smoothing": self.smoothing,
            "small_weight": self.small_weight,
            "large_weight": self.large_weight,
            "confidence_weight": self.confidence_weight,
            "confidence_center": self.confidence_center,
            "confidence_scale": self.confidence_scale,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote."""
        own = dict(data)
        n_labels = own.pop("n_labels")
        counts = np.zeros((n_labels, n_labels), dtype=np.int64)
        for row, column, count in own["counts"]:
            counts[row, column] = count
        return cls(**{**own, "counts": counts})


def fit_posterior(
    log_small: ArrayLike, targets: Integers, answers: Integers, confidences: ArrayLike | None = None
) -> Posterior:
    """Fit the weights and the smoothing by the log loss, each row judged by the confusions of all other rows.

    Args:
        log_small: The small model's log-probabilities on rows that it was not trained on, of shape [n, labels].
        targets: The number of each row's true label.
        answers: The number of the large model's answer; rows with -1, where it failed, teach nothing.
        confidences: Its own confidence, NaN where it is not known.

    Raises:
        ValueError: There is no row with an answer.
    """
    small = np.maximum(np.asarray(log_small, dtype=np.float64), np.log(SMALLEST_PROBABILITY))
    heard = np.flatnonzero(answers >= 0)
    if not len(heard):
        msg = "Got no row that the large model answered but expected some to fit the fusion on"
        raise ValueError(msg)
    known = None if confidences is None else _log_odds(confidences)[heard]
    n_labels = small.shape[1]
    small, truth, said = small[heard], targets[heard], answers[heard]
    counts = np.zeros((n_labels, n_labels), dtype=np.int64)
    np.add.at(counts, (truth, said), 1)
    center, scale, shifted = 0.0, 1.0, None
    if known is not None and np.isfinite(known).any():
        center, scale = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
        shifted = np.nan_to_num((known - center) / scale)
    fits = [_fit_weights(small, truth, _left_out(counts, truth, said, value), shifted) for value in SMOOTHINGS]
    best = int(np.argmin([loss for loss, _ in fits]))
    weights = fits[best][1]
    return Posterior(
        counts=counts,
        smoothing=SMOOTHINGS[best],
        small_weight=float(weights[0]),
        large_weight=float(weights[1]),
        confidence_weight=float(weights[2]),
        confidence_center=center,
        confidence_scale=scale,
    )


def _left_out(counts: Integers, truth: Integers, said: Integers, smoothing: float) -> Floats:
    """The evidence of each row's answer, of shape [n, labels], with the row itself not counted."""
    likelihood = answer_likelihood(counts, smoothing)
    evidence = likelihood[:, said].T.copy()
    rows = np.arange(len(truth))
    n = counts[truth].sum(axis=1) + smoothing
    evidence[rows, truth] = np.maximum((likelihood[truth, said] * n - 1) / (n - 1), SMALLEST_PROBABILITY)
    return np.log(evidence)


def _fit_weights(small: Floats, truth: Integers, told: Floats, shifted: Floats | None) -> tuple[float, Floats]:
    rows = np.arange(len(truth))
    extra = np.zeros_like(told) if shifted is None else shifted[:, None] * told
    parts = np.stack([small, told, extra])
    right = parts[:, rows, truth]

    def loss(weights: Floats) -> tuple[float, Floats]:
        logs = _normalised(np.tensordot(weights, parts, 1))
        slope = (np.einsum("nk,wnk->wn", np.exp(logs), parts) - right).mean(axis=1)
        value = -logs[rows, truth].mean() + PULL * weights[2] ** 2
        return float(value), slope + np.array([0.0, 0.0, 2 * PULL * weights[2]])

    found = minimize(loss, [1.0, 0.5, 0.0], jac=True, method="L-BFGS-B", bounds=BOUNDS)
    return float(found.fun), found.x


def _log_odds(confidences: ArrayLike) -> Floats:
    result: Floats = logit(np.clip(np.asarray(confidences, dtype=np.float64), 1e-4, 1 - 1e-4))
    return result


def _normalised(scores: Floats) -> Floats:
    result: Floats = log_softmax(scores, axis=1)
    return result
