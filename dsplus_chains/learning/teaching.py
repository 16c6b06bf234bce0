"""What the large model's answers teach the small one: soft targets, made by models that had not seen the row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from dsplus_chains.calibration.posterior import Posterior

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def soft_targets(
    foreseen: Floats,
    answers: Integers,
    posterior: Posterior,
    *,
    confidences: Floats | None = None,
    frozen: NDArray[np.bool_] | None = None,
) -> Floats:
    """What the small model is to learn of each row.

    Where the large model has answered, it is the posterior given both models. Elsewhere it is the small model's own
    distribution, so that nothing is forgotten. Where the small model sees a frozen class, the large model's answer does
    not count.

    Args:
        foreseen: Log-probabilities of shape [folds + 1, n, classes], from models that had not seen the rows.
        answers: The class number of the large model's answer, -1 where there is none.
        posterior: What both answers together say.
        confidences: The large model's own confidence, NaN where it is not known.
        frozen: Whether each class is frozen. See `frozen_classes`.

    Returns:
        Distributions of shape [folds + 1, n, classes].

    Source: two-stage confidence distillation of DS+ (arXiv 2406.15471, section 3) learns from the large model's
    distribution and replays the small one's own. Here both meet in one posterior.

    Example:
        >>> from dsplus_chains.calibration.posterior import fit_posterior
        >>> sure, torn = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
        >>> posterior = fit_posterior(np.repeat(torn, 40, 0), np.tile([0, 1], 20), np.tile([0, 1], 20))
        >>> targets = soft_targets(np.stack([torn, sure]), np.array([1]), posterior)
        >>> targets.shape, bool(targets[0, 0, 1] > targets[1, 0, 1] > 0.1)
        ((2, 1, 2), True)
    """
    targets: Floats = np.exp(foreseen)
    for own, target in zip(foreseen, targets, strict=True):
        counts = answers >= 0 if frozen is None else (answers >= 0) & ~frozen[own.argmax(axis=1)]
        rows = np.flatnonzero(counts)
        if len(rows):
            known = None if confidences is None else confidences[rows]
            target[rows] = np.exp(posterior.log_proba(own[rows], answers[rows], known))
    targets /= targets.sum(axis=2, keepdims=True)
    return targets


def sure_targets(
    foreseen: Floats, answers: Integers, *, eps: float, confidences: Floats | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """What the steps of two-stage confidence distillation learn of each row, by both models' gates.

    A row that the large model has answered is taught, if its confidence is above `eps`. The target is its distribution.
    This is its confidence for the answer, and the rest evenly for the other classes. An answer without a confidence is
    taken at its word. Any other row is replayed, if the small model's confidence is above `eps`.

    Args:
        foreseen: Log-probabilities of shape [folds + 1, n, classes], from models that had not seen the rows.
        answers: The class number of the large model's answer, -1 where there is none.
        eps: The confidence that a target must exceed.
        confidences: The large model's own confidence, NaN where it is not known.

    Returns:
        Distributions of shape [folds + 1, n, classes], NaN where neither model is sure enough. Whether each row is
        replayed.

    Source: two-stage confidence distillation of DS+ (arXiv 2406.15471, section 3).

    Example:
        >>> own = np.log([[[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]])
        >>> targets, replayed = sure_targets(own, np.array([-1, -1, 1]), eps=0.8)
        >>> np.round(targets[0], 1).tolist(), replayed.tolist()
        ([[0.9, 0.1], [nan, nan], [0.0, 1.0]], [True, True, False])
    """
    n_classes = foreseen.shape[2]
    told = np.flatnonzero(answers >= 0)
    known = np.full(len(answers), np.nan) if confidences is None else confidences
    trust = np.where(np.isnan(known), 1.0, known)[told]
    targets: Floats = np.exp(foreseen)
    targets /= targets.sum(axis=2, keepdims=True)
    unsure = targets[-1].max(axis=1) <= eps
    heard = np.repeat(((1 - trust) / max(n_classes - 1, 1))[:, None], n_classes, axis=1)
    heard[np.arange(len(told)), answers[told]] = trust
    targets[:, told], unsure[told] = heard, trust <= eps
    targets[:, unsure] = np.nan
    return targets, answers < 0


def frozen_classes(targets: Integers, answers: Integers, n_classes: int, *, level: float = 0.01) -> NDArray[np.bool_]:
    """The classes on which the large model is wrong more often than chance allows.

    These are classes where it is right on less than half of the labelled rows, by an exact binomial test.

    Args:
        targets: The class number of each labelled row.
        answers: The class number of the large model's answer, -1 where there is none.
        n_classes: Number of classes.
        level: Chance that a class is frozen though the large model is right on half of its rows.

    Example:
        >>> frozen_classes(np.array([0] * 10 + [1] * 10), np.array([0] * 10 + [0] * 10), 2).tolist()
        [False, True]
    """
    told = answers >= 0
    asked = np.bincount(targets[told], minlength=n_classes).tolist()
    right = np.bincount(targets[told & (answers == targets)], minlength=n_classes).tolist()
    counts = zip(right, asked, strict=True)
    return np.array([n > 0 and binomtest(k, n, 0.5, alternative="less").pvalue <= level for k, n in counts])
