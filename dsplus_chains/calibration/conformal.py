"""Conformal sets: how many labels to offer so that the true one is among them as often as promised.

A set holds the most likely labels, as long as their probabilities sum to at most a level. It always holds the likeliest
label. The level comes from rows whose label is known. So the promise does not depend on the probabilities being right.
With poor probabilities the sets are large.

Source: Romano, Sesia, Candès, "Classification with Valid and Adaptive Coverage" (NeurIPS 2020, arXiv 2006.02544),
section 2. The randomisation is left out, so the sets are a little larger than they need be.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def cumulative_scores(probabilities: ArrayLike) -> Floats:
    """For each label, the total probability of all labels at least as likely. A level is compared with this score.

    Args:
        probabilities: Probabilities of shape [n, labels].

    Returns:
        Scores of the same shape. Labels of equal probability have equal scores, so their order does not matter.

    Example:
        >>> cumulative_scores([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]).round(2).tolist()
        [[1.0, 0.5, 0.8], [0.8, 1.0, 0.8]]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-table, axis=1, kind="stable")
    falling = np.take_along_axis(table, order, axis=1)
    tied = np.zeros(table.shape, dtype=np.bool_)
    tied[:, :-1] = falling[:, :-1] == falling[:, 1:]
    totals = np.where(tied, np.inf, np.cumsum(falling, axis=1))
    totals = np.minimum.accumulate(totals[:, ::-1], axis=1)[:, ::-1]  # tied labels take the total of the last one
    scores = np.empty_like(table)
    np.put_along_axis(scores, order, totals, axis=1)
    return scores


def conformal_level(probabilities: ArrayLike, targets: ArrayLike, *, set_coverage: float) -> float:
    """The level at which sets hold the true label of a further row with probability `set_coverage`, or more.

    It holds for rows that are exchangeable with these, whatever the probabilities are worth. With fewer than coverage /
    (1 - coverage) rows, only sets of all labels keep the promise. That is what level 1 gives.

    Args:
        probabilities: Probabilities of shape [n, labels], on rows the model was not trained on.
        targets: The column of each row's true label. It is -1 where the label has no column. Only the set of all labels
            covers such a row.
        set_coverage: Coverage 1 - alpha, in (0, 1).

    Raises:
        ValueError: The coverage is out of range.

    Example:
        >>> conformal_level([[0.6, 0.4]] * 19, [0] * 10 + [1] * 9, set_coverage=0.5)
        0.6
    """
    if not 0 < set_coverage < 1:
        msg = f"Got set_coverage={set_coverage} but expected a number between 0 and 1, such as 0.95"
        raise ValueError(msg)
    columns = np.asarray(targets, dtype=np.int64)
    n = len(columns)
    rank = math.ceil((n + 1) * set_coverage - 1e-9)
    if rank > n:
        return 1.0
    scores = np.where(columns < 0, np.inf, cumulative_scores(probabilities)[np.arange(n), columns])
    return float(min(np.sort(scores)[rank - 1], 1.0))


def in_set(probabilities: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Which labels the sets of a level hold.

    Args:
        probabilities: Probabilities of shape [n, labels].
        level: Level from `conformal_level`. 1 takes all labels.

    Returns:
        Flags of shape [n, labels]. They hold at least the likeliest label of each row, or several that are as likely.

    Example:
        >>> in_set([[0.2, 0.5, 0.3]], 0.8).tolist()
        [[False, True, True]]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    if level >= 1:
        return np.ones(table.shape, dtype=np.bool_)
    held: NDArray[np.bool_] = (cumulative_scores(table) <= level + 1e-12) | (table == table.max(axis=1, keepdims=True))
    return held
