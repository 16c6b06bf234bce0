"""What to believe once both models have spoken: p(label | small model's distribution, large model's answer).

The score of a label is a weighted sum of two log-likelihoods. One is what the small model says of the label. The other
is how often the large model gives its answer where that label is true. This is stacking (Wolpert 1992) of a
probabilistic classifier with one that gives labels only. The latter is read through its confusion matrix (Dawid and
Skene 1979).

Both weights move with the small model's entropy. Where it knows least, the little it says is worth less than elsewhere.
The large model's word is then worth more. What the small model can hardly tell apart may also confuse the large model,
if the rows show that. The small model's distributions then say which wrong answers to expect, where rows are too few to
count them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logit

from dsplus_chains.calibration.confusion import SMALLEST_PROBABILITY, answer_likelihood, confusability
from dsplus_chains.calibration.stored_posterior import StoredPosterior
from dsplus_chains.running.one_thread import one_thread_of_blas
from dsplus_chains.schema import brief_repr

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SMOOTHINGS = (3.0, 10.0, 30.0, 100.0, 1e6)
"""How many rows of a label the expectation from all labels may count for. With the last, only that counts."""
BOUNDS = ((0.05, 3.0), (0.05, 3.0), (0.0, 3.0), (0.0, 3.0), (-1.0, 1.0))
"""Range of each weight. Without bounds, rows that the models answer perfectly would drive weights to infinity."""
_START = (1.0, 1.0, 0.5, 0.5, 0.0)
"""Where the search for the weights begins."""
PULL = 3.0
"""Strength of the pull on the weights, in nats over all rows. Both models' weights are pulled to be the same
everywhere. The weight of confidence is pulled to zero."""
SHARES = (0.0, 0.8)
"""Share of the wrong answers that may be expected by `confusability`. The rest goes by how often each answer is given.
Which share is better depends on whether both models find the same labels hard. The tuning rows tell."""
LEAST_SPREAD = 1e-3
"""Least spread of the large model's confidence, in log-odds. Below it the confidence counts as the same on all rows,
and nothing is learned from it."""
MOST_ROWS = 10_000
"""Most rows by whose loss the weights are fitted. The weights are five, so more rows only take longer. All rows count
for how often each answer is given."""
FARTHEST = 3.0
"""Largest distance of a confidence from the mean of those it was tuned on, in standard deviations. What is farther
counts as this far."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """How a small model's distribution and a large model's answer combine.

    Args:
        counts: Number of rows of the tuning split by true label and answer, of shape [labels, labels].
        smoothing: For how many rows the expectation counts. See `answer_likelihood`.
        small_weights: Weights of the small model's log-probabilities. The first holds where it knows all, the second
            where it knows nothing. Between the two the weight is linear in its entropy.
        large_weights: Weights of the large model's answer, likewise.
        confusable: What each label is easily taken for, of shape [labels, labels]. See `confusability`.
        confusable_share: Share of the large model's wrong answers that is expected by `confusable`.
        confidence_weight: How much one unit of the large model's own confidence adds to its weight. The unit is a
            standard deviation of the log-odds.
        confidence_center: Mean of that confidence, in log-odds.
        confidence_scale: Standard deviation of that confidence, in log-odds.
    """

    counts: Integers
    smoothing: float
    small_weights: tuple[float, float]
    large_weights: tuple[float, float]
    confusable: Floats
    confusable_share: float
    confidence_weight: float = 0.0
    confidence_center: float = 0.0
    confidence_scale: float = 1.0

    def __eq__(self, other: object) -> bool:
        """Whether the two weigh alike."""
        return isinstance(other, Posterior) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        """Hash by the weights."""
        return hash((len(self.counts), self.smoothing, self.small_weights, self.large_weights, self.confidence_weight))

    @cached_property
    def evidence(self) -> Floats:
        """What each answer says for each label, in nats, of shape [answer, label]."""
        likelihood = answer_likelihood(self.counts, self.smoothing, self.confusable, share=self.confusable_share)
        return np.ascontiguousarray(np.log(likelihood).T)

    def log_proba(self, log_small: ArrayLike, answers: Integers, confidences: ArrayLike | None = None) -> Floats:
        """Log-probabilities of the labels, given both models.

        Args:
            log_small: Log-probabilities of the small model, of shape [n, labels].
            answers: The number of the large model's answer. It is -1 where there is none, which says nothing.
            confidences: The large model's own confidence, NaN where it is not known.

        Returns:
            Log-probabilities of shape [n, labels].
        """
        small = np.asarray(log_small, dtype=np.float64)
        unsure = _unsure(small)
        small_weight, large_weight = (np.interp(unsure, (0, 1), at) for at in (self.small_weights, self.large_weights))
        if confidences is not None:
            shifted = _standardised(_log_odds(confidences), self.confidence_center, self.confidence_scale)
            large_weight = np.maximum(large_weight + self.confidence_weight * shifted, 0.0)
        told = large_weight[:, None] * self.evidence[answers]
        return _normalised(small_weight[:, None] * small + np.where((answers >= 0)[:, None], told, 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. Only counts that are not zero are kept, as [true label, answer, count]."""
        rows, columns = np.nonzero(self.counts)
        cells = np.stack([rows, columns, self.counts[rows, columns]], axis=1).tolist()
        return {
            "n_labels": len(self.counts),
            "counts": cells,
            "smoothing": self.smoothing,
            "small_weights": list(self.small_weights),
            "large_weights": list(self.large_weights),
            "confusable": self.confusable.tolist(),
            "confusable_share": self.confusable_share,
            "confidence_weight": self.confidence_weight,
            "confidence_center": self.confidence_center,
            "confidence_scale": self.confidence_scale,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote.

        Raises:
            pydantic.ValidationError: A field is missing or out of range, or the numbers of labels differ.
        """
        own = StoredPosterior.model_validate(data).model_dump()
        n_labels = own.pop("n_labels")
        counts = np.zeros((n_labels, n_labels), dtype=np.int64)
        for row, column, count in own["counts"]:
            counts[row, column] = count
        own["small_weights"], own["large_weights"] = tuple(own["small_weights"]), tuple(own["large_weights"])
        return cls(**{**own, "counts": counts, "confusable": np.array(own["confusable"], dtype=np.float64)})


@one_thread_of_blas
def fit_posterior(
    log_small: ArrayLike,
    targets: Integers,
    answers: Integers,
    confidences: ArrayLike | None = None,
    *,
    like: Posterior | None = None,
) -> Posterior:
    """Fit weights and smoothing by the log loss. When a row is judged, its own count is left out.

    The loss is that of at most `MOST_ROWS` rows, drawn without regard to anything else.

    Args:
        log_small: The small model's log-probabilities on rows that it was not trained on, of shape [n, labels].
        targets: The number of each row's true label.
        answers: The number of the large model's answer. Rows with -1, where it failed, teach nothing.
        confidences: The large model's own confidence, NaN where it is not known.
        like: A posterior of nearly the same rows, whose smoothing is taken and whose weights are the start. With None
            the smoothing of the least loss is taken, of ten.

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
    center, scale, shifted = 0.0, 1.0, np.zeros(len(heard))
    if known is not None and np.isfinite(known).any() and np.nanstd(known) > LEAST_SPREAD:
        center, scale = float(np.nanmean(known)), float(np.nanstd(known))
        shifted = _standardised(known, center, scale)
    confusable = confusability(small).round(4)
    if len(small) > MOST_ROWS:
        drawn = np.random.default_rng(0).permutation(len(small))[:MOST_ROWS]
        small, truth, said, shifted = small[drawn], truth[drawn], said[drawn], shifted[drawn]
    tried = [*product(SMOOTHINGS, SHARES)] if like is None else [(like.smoothing, like.confusable_share)]
    start = _START if like is None else (*like.small_weights, *like.large_weights, like.confidence_weight)
    fits = {}
    for smoothing, share in tried:
        table = answer_likelihood(counts, smoothing, confusable, share=share)
        told = _left_out(table, counts.sum(axis=1) + smoothing, truth, said)
        fits[smoothing, share] = _fit_weights(_parts(small, told, shifted), truth, start)
    smoothing, share = min(fits, key=lambda settings: fits[settings][0])
    weights = fits[smoothing, share][1]
    return Posterior(
        counts=counts,
        smoothing=smoothing,
        small_weights=(float(weights[0]), float(weights[1])),
        large_weights=(float(weights[2]), float(weights[3])),
        confusable=confusable,
        confusable_share=share,
        confidence_weight=float(weights[4]),
        confidence_center=center,
        confidence_scale=scale,
    )


def _left_out(likelihood: Floats, weight: Floats, truth: Integers, said: Integers) -> Floats:
    """The evidence of each row's answer, of shape [n, labels], with the row itself not counted for its label.

    Args:
        likelihood: Likelihoods of the answers. See `answer_likelihood`.
        weight: For how many rows each label's likelihoods count. These are the rows with that label, and the smoothing.
        truth: Each row's label.
        said: Each row's answer.
    """
    evidence = likelihood[:, said].T.copy()
    rows, n = np.arange(len(truth)), weight[truth]
    evidence[rows, truth] = np.maximum((likelihood[truth, said] * n - 1) / (n - 1), SMALLEST_PROBABILITY)
    return np.log(evidence)


def _unsure(small: Floats) -> Floats:
    """The entropy of each row as a share of its maximum. It is 0 where one label is certain, 1 if all are alike."""
    result: Floats = -(np.exp(small) * small).sum(axis=1) / max(np.log(small.shape[1]), SMALLEST_PROBABILITY)
    return np.clip(result, 0.0, 1.0)


def _parts(small: Floats, told: Floats, shifted: Floats) -> Floats:
    """What the weights multiply, of shape [weights, n, labels]."""
    unsure = _unsure(small)[:, None]
    return np.stack([small * (1 - unsure), small * unsure, told * (1 - unsure), told * unsure, told * shifted[:, None]])


def _fit_weights(parts: Floats, truth: Integers, start: Sequence[float]) -> tuple[float, Floats]:
    """The mean loss of a row, and the weights, searched for from a start."""
    rows = np.arange(len(truth))
    right = parts[:, rows, truth]

    def loss(weights: Floats) -> tuple[float, Floats]:
        logs = _normalised(np.tensordot(weights, parts, 1))
        slope = (np.einsum("nk,wnk->wn", np.exp(logs), parts) - right).sum(axis=1)
        pull, pull_slope = _pull(weights)
        return float(pull - logs[rows, truth].sum()) / len(rows), (slope + pull_slope) / len(rows)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=BOUNDS)
    return float(found.fun), found.x


def _pull(weights: Floats) -> tuple[float, Floats]:
    """The penalty on the weights, in nats, and its slope."""
    small, large, confidence = weights[1] - weights[0], weights[3] - weights[2], weights[4]
    slope = 2 * PULL * np.array([-small, small, -large, large, confidence])
    return float(PULL * (small**2 + large**2 + confidence**2)), slope


def _log_odds(confidences: ArrayLike) -> Floats:
    result: Floats = logit(np.clip(np.asarray(confidences, dtype=np.float64), 1e-4, 1 - 1e-4))
    return result


def _standardised(log_odds: Floats, center: float, scale: float) -> Floats:
    """How many standard deviations each value is from the mean. 0 where it is not known."""
    return np.clip(np.nan_to_num((log_odds - center) / scale), -FARTHEST, FARTHEST)


def _normalised(scores: Floats) -> Floats:
    result: Floats = log_softmax(scores, axis=1)
    return result
