"""A multinomial logistic regression, fitted by Newton's method: `optimum` and the coordinates that make it quick."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

Doubles = NDArray[np.float64]

CLOSE = 1e-4
"""Length of the gradient, in coordinates of even curvature, at which the search ends."""
MOST_STEPS = 200
SMALLEST = 1e-9
"""Curvature of a direction in which the data say nothing, and share of the largest one that counts as nothing."""


def optimum(features: Doubles, shares: Doubles, *, penalty: float, start: Doubles | None = None) -> Doubles:
    """The weights with the least mean cross-entropy plus `penalty` / 2 times the sum of their squares.

    The loss has one optimum. Its gradient is exact, in double precision. Only the curvature, which tells the next step,
    is in single precision. So the end does not depend on the start, nor on the processor's rounding.

    Args:
        features: Features of shape [n, dimensions].
        shares: A distribution over the classes for each row, of shape [n, classes].
        penalty: Strength of the penalty. The biases have none.
        start: Weights from which the search begins. By default all are zero.

    Returns:
        Weights of shape [dimensions + 1, classes]. The last row holds the biases.

    Source: Steihaug, "The conjugate gradient method and trust regions in large scale optimization" (SIAM Journal on
    Numerical Analysis 1983), as scipy's "trust-ncg".
    """
    directions = _directions(features)
    rotated = np.concatenate([features @ directions, np.ones((len(features), 1))], axis=1)
    begin = np.zeros((rotated.shape[1], shares.shape[1]))
    if start is not None:
        begin = np.concatenate([directions.T @ start[:-1], start[-1:]])
    loss = _Loss(rotated, shares, penalty, begin)
    found = minimize(
        loss.value,
        (begin / loss.scale).ravel(),
        jac=True,
        hessp=loss.bent,
        method="trust-ncg",
        options={"gtol": CLOSE, "maxiter": MOST_STEPS, "initial_trust_radius": 10.0, "max_trust_radius": 1e6},
    )
    weights = loss.scale * found.x.reshape(begin.shape)
    return np.concatenate([directions @ weights[:-1], weights[-1:]])


def _directions(features: Doubles) -> Doubles:
    """Orthonormal directions of shape [dimensions, directions], along which the features do not correlate.

    With fewer rows than dimensions there are as many as rows, since the optimum is a sum of rows (the representer
    theorem).
    """
    n, width = features.shape
    if n >= width:
        directions: Doubles = np.linalg.eigh(features.T @ features)[1]
        return directions
    values, rows = np.linalg.eigh(features @ features.T)
    kept = values > SMALLEST * values.max(initial=0)
    along: Doubles = features.T @ (rows[:, kept] / np.sqrt(values[kept]))
    return along


class _Loss:
    """The loss in coordinates in which it is about equally curved in all directions, so that few steps are needed.

    Args:
        x: Features of shape [n, dimensions], the last of them one.
        shares: A distribution over the classes for each row.
        penalty: Strength of the penalty on all dimensions but the last.
        begin: Weights about which it is to be evenly curved.
    """

    def __init__(self, x: Doubles, shares: Doubles, penalty: float, begin: Doubles) -> None:
        self._x, self._y = torch.as_tensor(x), torch.as_tensor(shares)
        self._x32 = self._x.float()
        self._penalty = np.full((x.shape[1], 1), penalty)
        self._penalty[-1] = 0
        beliefs = torch.softmax(self._x @ torch.as_tensor(begin), dim=1)
        curvature = float((beliefs * (1 - beliefs)).mean()) * np.square(x).mean(axis=0)
        self.scale: Doubles = 1 / np.sqrt(curvature[:, None] + self._penalty + SMALLEST)
        self._scale32, self._penalty32 = (torch.as_tensor(part).float() for part in (self.scale, self._penalty))
        self._seen = (np.empty(0), beliefs)
        self._bent = (np.empty(0), beliefs)

    def value(self, point: Doubles) -> tuple[float, Doubles]:
        """The loss at a point, and its gradient."""
        weights = self.scale * point.reshape(len(self.scale), -1)
        logs = torch.log_softmax(self._x @ torch.as_tensor(weights), dim=1)
        pull = self._penalty * weights
        loss = float((weights * pull).sum()) / 2 - float((self._y * logs).sum()) / len(self._x)
        beliefs = logs.exp_()
        slope = (self._x.T @ (beliefs - self._y)).numpy() / len(self._x) + pull
        self._seen = (point.copy(), beliefs)
        return loss, (self.scale * slope).ravel()

    def bent(self, point: Doubles, way: Doubles) -> Doubles:
        """The Hessian at a point, times a vector."""
        if not np.array_equal(self._bent[0], point):
            if not np.array_equal(self._seen[0], point):
                self.value(point)
            self._bent = (self._seen[0], self._seen[1].float())
        beliefs = self._bent[1]
        step = self._scale32 * torch.as_tensor(way.reshape(len(self.scale), -1)).float()
        change = beliefs * (self._x32 @ step)
        change -= beliefs * change.sum(dim=1, keepdim=True)
        bent = self._scale32 * (self._x32.T @ change / len(self._x) + self._penalty32 * step)
        return bent.double().numpy().ravel()
