"""How members are mixed, with folds, out-of-fold log-probabilities and weights. All functions are pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dsplus_chains.scoring.members.member import log_softmax

Logs = NDArray[np.float64]


def assign_folds(targets: NDArray[np.int64], n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """A fold number for each row, which spreads every class as evenly as its size allows.

    A class with at least two examples is never wholly in one fold. So some of it is always trained on.

    Example:
        >>> sorted(assign_folds(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0)[:3].tolist())
        [0, 1, 2]
    """
    generator = np.random.default_rng(seed)
    folds = np.zeros(len(targets), dtype=np.int64)
    start = 0
    for number in np.unique(targets):
        rows = generator.permutation(np.flatnonzero(targets == number))
        folds[rows] = (np.arange(len(rows)) + start) % n_folds
        start += len(rows)
    return folds


def mixing_weights(logs: list[Logs], targets: NDArray[np.int64], *, pull: float = 1e-3) -> NDArray[np.float64]:
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
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-6.0, 4.0)] * len(logs))
    result: NDArray[np.float64] = np.exp(found.x)
    return result


def mix(logs: list[Logs], weights: NDArray[np.float64]) -> Logs:
    """The weighted geometric mean of members, as log-probabilities of shape [n, classes]."""
    return log_softmax(np.tensordot(weights, np.stack(logs), 1))
