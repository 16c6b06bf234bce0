"""What the large model answers where each label is true. Its confusions are counted and shrunk by pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-12


def confusability(log_small: ArrayLike) -> Floats:
    """Which labels a small model can hardly tell apart. This is how it shares its probability among them.

    Args:
        log_small: Log-probabilities of the small model, of shape [n, labels].

    Returns:
        Shares of shape [labels, labels]. Where a label is likely, they tell how likely each other label is. Rows sum to
            1, the diagonal is 0.

    Example:
        >>> confusability(np.log([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]])).round(2).tolist()
        [[0.0, 0.78, 0.22], [0.84, 0.0, 0.16], [0.61, 0.39, 0.0]]
    """
    small = np.exp(np.asarray(log_small, dtype=np.float64))
    shared = small.T @ small + SMALLEST_PROBABILITY
    np.fill_diagonal(shared, 0.0)
    result: Floats = shared / np.maximum(shared.sum(axis=1, keepdims=True), SMALLEST_PROBABILITY)
    return result


def answer_likelihood(
    counts: ArrayLike, smoothing: float, confusable: ArrayLike | None = None, *, share: float = 0.0
) -> Floats:
    """How likely the large model gives each answer where each label is true, shrunk to the average over all labels.

    A label with few rows is expected to behave as the average one. It is right at the average rate. Where it is wrong,
    the expected answers are frequent ones, or labels that it is easily taken for.

    Args:
        counts: Number of rows by true label (first axis) and answer (second axis), of shape [labels, labels].
        smoothing: For how many rows of each label that expectation counts.
        confusable: What each label is easily taken for. See `confusability`.
        share: Share of the wrong answers that is expected by `confusable`.

    Returns:
        Probabilities of shape [true label, answer]. Each row sums to 1.

    Example:
        >>> answer_likelihood([[9, 1], [0, 0]], 2.0).round(2).tolist()
        [[0.89, 0.11], [0.17, 0.83]]
    """
    table = np.asarray(counts, dtype=np.float64)
    right = (np.trace(table) + 1) / (table.sum() + 2)
    if len(table) == 1:
        return np.ones((1, 1))
    elsewhere = np.broadcast_to(table.sum(axis=0) + 1, table.shape).copy()
    np.fill_diagonal(elsewhere, 0.0)
    elsewhere /= elsewhere.sum(axis=1, keepdims=True)
    if confusable is not None:
        elsewhere = share * np.asarray(confusable) + (1 - share) * elsewhere
    expected = (1 - right) * elsewhere
    np.fill_diagonal(expected, right)
    result: Floats = (table + smoothing * expected) / (table.sum(axis=1, keepdims=True) + smoothing)
    return result
