"""A multinomial logistic regression, fitted by Newton's method: `optimum` and the coordinates that make it quick."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

Doubles = NDArray[np.float64]

ROUGH, CLOSE = 3e-3, 1e-4
"""Lengths of the gradient, in coordinates of even curvature, at which the search takes new coordinates, and ends."""
MOST_STEPS = 200
SMALLEST = 1e-9
"""Share of the largest spread that counts as none."""
MEASURED = 8192
"""Most rows by which the coordinates are chosen."""


def optimum(features: Doubles, shares: Doubles, *, penalty: float, start: Doubles | None = None) -> Doubles:
    """The weights with the least mean cross-entropy plus `penalty` / 2 times the sum of their squares.

    The loss has one optimum. Its gradient is exact, in double precision. Only the curvature, which tells the next step,
    is in single precision. So the end hardly depends on the start, nor on the processor's rounding.

    Args:
        features: Features of shape [n, dimensions].
        shares: A distribution over the classes for each row, of shape [n, classes].
        penalty: Strength of the penalty. The biases have none.
        start: Weights from which the search begins. By default all are zero.

    Returns:
        Weights of shape [classes, dimensions + 1]. The last column holds the biases.

    Source: Steihaug, "The conjugate gradient method and trust regions in large scale optimization" (SIAM Journal on
    Numerical Analysis 1983), as scipy's "trust-ncg".

    Example:
        >>> weights = optimum(np.array([[0.0], [0.0], [1.0]]), np.array([[1, 0], [0, 1], [1, 0.0]]), penalty=0.1)
        >>> weights.shape, np.allclose(weights.sum(axis=0), 0), bool(weights[0, 0] > 0)
        ((2, 2), True, True)
    """
    n, width = features.shape
    if n < width:  # the weights are a sum of rows (the representer theorem)
        space = _row_space(features)
        begin = None if start is None else np.column_stack([start[:, :-1] @ space, start[:, -1]])
        inside = optimum(features @ space, shares, penalty=penalty, start=begin)
        return np.column_stack([inside[:, :-1] @ space.T, inside[:, -1]])
    x = np.column_stack([features, np.ones(n)])
    if start is None:
        start = _found(x, shares, penalty, np.zeros((shares.shape[1], width + 1)), ROUGH)
    return _found(x, shares, penalty, start, CLOSE)


def _found(x: Doubles, shares: Doubles, penalty: float, start: Doubles, close: float) -> Doubles:
    """The weights at which the gradient is so short, in the coordinates that suit the start."""
    loss = _Loss(x, shares, penalty, start)
    found = minimize(
        loss.value,
        loss.point_of(start),
        jac=True,
        hessp=loss.bent,
        method="trust-ncg",
        options={"gtol": close, "maxiter": MOST_STEPS, "initial_trust_radius": 10.0, "max_trust_radius": 1e6},
    )
    return loss.weights_of(found.x)


def _row_space(features: Doubles) -> Doubles:
    """Orthonormal directions of shape [dimensions, directions], whose sums the rows are."""
    values, rows = np.linalg.eigh(features @ features.T)
    kept = values > SMALLEST * values.max(initial=0)
    space: Doubles = features.T @ (rows[:, kept] / np.sqrt(values[kept]))
    return space


class _Loss:
    """The loss in coordinates in which it is about equally curved in all directions, so that few steps are needed.

    Classes come first in all tables. The other way round, products with few classes take up to ten times as long.

    Args:
        x: Features of shape [n, dimensions], the last of them one.
        shares: A distribution over the classes for each row.
        penalty: Strength of the penalty on all dimensions but the last.
        start: Weights about which it is to be evenly curved.
    """

    def __init__(self, x: Doubles, shares: Doubles, penalty: float, start: Doubles) -> None:
        self._x, self._y = torch.as_tensor(x), torch.as_tensor(np.ascontiguousarray(shares.T))
        self._x32 = self._x.float()
        self._penalty = np.full(x.shape[1], penalty)
        self._penalty[-1] = 0
        beliefs = torch.softmax(torch.as_tensor(start) @ self._x.T, dim=0)
        step = -(-len(x) // MEASURED)
        doubts, measured = (beliefs * (1 - beliefs)).mean(dim=0).float()[::step, None], self._x32[::step]
        values, directions = np.linalg.eigh(((doubts * measured).T @ measured / len(measured)).double().numpy())
        self._straight: Doubles = directions / np.sqrt(values.clip(0) + penalty)
        self._straight32 = torch.as_tensor(self._straight).float()
        self._penalty32 = torch.as_tensor(self._penalty).float()
        self._seen = (np.empty(0), beliefs)
        self._bent = (np.empty(0), beliefs)

    def point_of(self, weights: Doubles) -> Doubles:
        """The point that stands for weights of shape [classes, dimensions]."""
        return np.asarray(np.linalg.solve(self._straight, weights.T).T.ravel(), dtype=np.float64)

    def weights_of(self, point: Doubles) -> Doubles:
        """The weights that a point stands for, of shape [classes, dimensions]."""
        weights: Doubles = point.reshape(-1, len(self._penalty)) @ self._straight.T
        return weights

    def value(self, point: Doubles) -> tuple[float, Doubles]:
        """The loss at a point, and its gradient."""
        weights = self.weights_of(point)
        logs = torch.log_softmax(torch.as_tensor(weights) @ self._x.T, dim=0)
        pull = weights * self._penalty
        loss = float((weights * pull).sum()) / 2 - float((self._y * logs).sum()) / len(self._x)
        beliefs = logs.exp_()
        slope = ((beliefs - self._y) @ self._x).numpy() / len(self._x) + pull
        self._seen = (point.copy(), beliefs)
        return loss, (slope @ self._straight).ravel()

    def bent(self, point: Doubles, way: Doubles) -> Doubles:
        """The Hessian at a point, times a vector."""
        if not np.array_equal(self._bent[0], point):
            if not np.array_equal(self._seen[0], point):
                self.value(point)
            self._bent = (self._seen[0], self._seen[1].float())
        beliefs = self._bent[1]
        step = torch.as_tensor(way).float().reshape(-1, len(self._penalty)) @ self._straight32.T
        change = beliefs * (step @ self._x32.T)
        change -= beliefs * change.sum(dim=0)
        bent = (change @ self._x32 / len(self._x) + step * self._penalty32) @ self._straight32
        return bent.double().numpy().ravel()
