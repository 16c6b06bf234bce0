"""How members are mixed, with folds, out-of-fold log-probabilities and weights. All functions are pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dsplus_chains.running.one_thread import one_thread_of_blas
from dsplus_chains.scoring.members.member import log_softmax

Logs = NDArray[np.float64]


def assign_folds(
    targets: NDArray[np.int64], n_folds: int, *, seed: int, copy_of: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """A fold number for each row, which spreads every class as evenly as its size allows.

    Copies of a row share a fold, and count once. A class with at least two different rows is never wholly in one fold.
    So some of it is always trained on.

    scikit-learn's `StratifiedGroupKFold` refuses classes that are all smaller than the number of folds. It also weighs
    a row by its copies, and takes a second for ten thousand rows.

    Args:
        targets: The class number of each row.
        n_folds: Number of folds.
        seed: Seed of the draw.
        copy_of: For each row, the number of the first row that it is a copy of. By default no row is a copy.

    Example:
        >>> sorted(assign_folds(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0)[:3].tolist())
        [0, 1, 2]
        >>> folds = assign_folds(np.array([0, 0, 0, 1, 1]), 2, seed=0, copy_of=np.array([0, 0, 2, 3, 4]))
        >>> bool(folds[0] == folds[1] != folds[2])
        True
    """
    first = np.arange(len(targets)) if copy_of is None else copy_of
    classes = _classes(targets, first)
    texts_of = np.bincount([number for found in classes.values() for number in found])
    generator, once = np.random.default_rng(seed), first == np.arange(len(first))
    drawn = [
        row
        for number in np.unique(targets)
        for row in generator.permutation(np.flatnonzero(once & (targets == number))).tolist()
    ]
    # What has several labels cannot be placed as freely, so it comes first. Among it, rare classes come first.
    drawn.sort(key=lambda row: min(texts_of[number] for number in classes[row]) if len(classes[row]) > 1 else np.inf)
    dealt, sizes = [[0] * n_folds for _ in texts_of], [0] * n_folds
    fold_of = np.zeros(len(targets), dtype=np.int64)
    for row in drawn:
        rare_first = sorted(classes[row], key=lambda number: (texts_of[number], number))
        held = [*(dealt[number] for number in rare_first), sizes]
        fold = min(range(n_folds), key=lambda fold: [counts[fold] for counts in held])
        for counts in held:
            counts[fold] += 1
        fold_of[row] = fold
    return fold_of[first]


def judged_rows(targets: NDArray[np.int64], copy_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows by which members are judged, one of each text.

    A class with one text only is left out, because nothing is trained on it when its text is held out.

    Args:
        targets: The class number of each row.
        copy_of: For each row, the number of the first row that it is a copy of.

    Example:
        >>> judged_rows(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 2, 3, 3])).tolist()
        [0, 2]
    """
    texts_of = np.bincount([number for found in _classes(targets, copy_of).values() for number in found])
    once = copy_of == np.arange(len(copy_of))
    return np.flatnonzero(once & (texts_of[targets] > 1))


def _classes(targets: NDArray[np.int64], copy_of: NDArray[np.int64]) -> dict[int, set[int]]:
    """The classes of each text, by the number of its first row."""
    found: dict[int, set[int]] = {}
    for row, number in zip(copy_of.tolist(), targets.tolist(), strict=True):
        found.setdefault(row, set()).add(number)
    return found


def mixing_weights(logs: Sequence[Logs], targets: NDArray[np.int64], *, pull: float = 1e-3) -> NDArray[np.float64]:
    """The weights of a geometric mean of members.

    They minimise the log loss on rows that no member was trained on. They need not sum to one, because their sum is the
    mixture's inverse temperature. So mixing and temperature scaling are one fit. With one member it is temperature
    scaling.

    Args:
        logs: The out-of-fold log-probabilities of each member, of shape [n, classes].
        targets: The class number of each row.
        pull: How strongly the weights are pulled towards each other, on the log scale.

    Returns:
        One positive weight for each member.

    Source: Kondratyuk et al. 2020 (arXiv 2005.00570) average the members. To fit the weights is stacking (Wolpert
    1992), with as many parameters as members.
    """
    stacked = np.stack(logs)
    rows = np.arange(len(targets))
    truth = stacked[:, rows, targets]

    def loss(raw: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = np.exp(raw)
        mixed = log_softmax(np.tensordot(weights, stacked, 1))
        expected = np.einsum("nk,mnk->mn", np.exp(mixed), stacked)
        centered = raw - raw.mean()
        value = -mixed[rows, targets].mean() + pull * (centered**2).sum()
        return float(value), weights * (expected - truth).mean(axis=1) + 2 * pull * centered

    start = np.full(len(logs), -np.log(len(logs)))
    with one_thread_of_blas:
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-6.0, 4.0)] * len(logs))
    result: NDArray[np.float64] = np.exp(found.x)
    return result


def mix(logs: Sequence[Logs], weights: NDArray[np.float64]) -> Logs:
    """The weighted geometric mean of members, as log-probabilities of shape [n, classes], or [folds, n, classes]."""
    return log_softmax(np.tensordot(weights, np.stack(logs), 1))
