"""The torch head, a multinomial logistic regression on features, fitted to its one optimum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import nn

Floats = NDArray[np.float32] | NDArray[np.float64]
Targets = NDArray[np.int64] | NDArray[np.float64]
"""What rows are to teach: a class number a row, or a distribution over the classes a row, of shape [n, classes]."""

STOP = {"maxiter": 300, "gtol": 1e-5, "ftol": 1e-9}
"""When the search for a head's optimum stops. A closer one changes no probability by more than about 0.002."""
SMALLEST = 1e-9
"""Smallest bend of the loss, so that directions without any data can be divided by."""
ROUNDING = float(np.finfo(np.float64).eps)
"""Relative error of one addition."""


def fit_head(
    features: Floats,
    targets: Targets,
    n_classes: int,
    *,
    c: float,
) -> nn.Linear:
    """Fit a linear head by maximum likelihood, with an L2 penalty on its weights.

    The penalty is weighted as by scikit-learn's `C`. The problem is convex and L-BFGS starts at zero, so the result
    needs no seed. It looks for the optimum in coordinates in which the loss is about equally bent in all directions.
    There it needs few steps, and the products with the features can be in single precision. The sums, the penalty and
    the steps are in double precision. So another processor finds the same probabilities to about 0.002.

    Args:
        features: Features of shape [n, dimensions].
        targets: The class number of each row, in [0, n_classes), or its distribution over the classes.
        n_classes: Number of classes.
        c: The inverse strength of the penalty. A larger value leaves the weights more freedom.

    Returns:
        A layer from features to logits.

    Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization" (Mathematical Programming
    1989), after a change of variables by the Cholesky factor of the mean Hessian.
    """
    with one_thread():
        return _fitted(features, _distributions(targets, n_classes), c=c)


def _fitted(features: Floats, shares: NDArray[np.float64], *, c: float) -> nn.Linear:
    """The head for rows with a distribution each."""
    n, width = features.shape
    n_classes = shares.shape[1]
    penalty = np.full(width + 1, 1 / (c * n))
    penalty[-1] = 0.0  # the bias is free
    seen = np.concatenate([features, np.ones((n, 1))], axis=1).astype(np.float64)
    mean = shares.mean(axis=0)
    # In double precision. Otherwise columns that repeat each other may seem to bend the loss the other way.
    bend = seen.T @ seen / n * float((mean * (1 - mean)).mean()) + np.diag(penalty + SMALLEST)
    bend[np.diag_indices(width + 1)] *= 1 + ROUNDING * (n + width)
    straight = np.linalg.inv(np.linalg.cholesky(bend)).T
    x = torch.as_tensor((seen @ straight).astype(np.float32))
    y = torch.as_tensor(shares.astype(np.float32))
    pull = straight.T @ (penalty[:, None] * straight)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(width + 1, n_classes)
        logs = torch.log_softmax(x @ torch.as_tensor(weights, dtype=x.dtype), dim=1)
        away = pull @ weights
        value = -float((y * logs).sum(dtype=torch.float64)) / n + float((weights * away).sum()) / 2
        slope = (x.T @ (logs.exp() - y)).double().numpy() / n + away
        return value, slope.ravel()

    found = minimize(loss, np.zeros((width + 1) * n_classes), jac=True, method="L-BFGS-B", options=STOP)
    weights = straight @ found.x.reshape(width + 1, n_classes)
    head = nn.Linear(width, n_classes, dtype=torch.float64)
    head.load_state_dict({"weight": torch.as_tensor(weights[:-1].T), "bias": torch.as_tensor(weights[-1])})
    return head.requires_grad_(False).eval()


def _distributions(targets: Targets, n_classes: int) -> NDArray[np.float64]:
    """Targets as a distribution a row."""
    return np.eye(n_classes)[targets] if targets.ndim == 1 else np.asarray(targets, dtype=np.float64)


@contextmanager
def one_thread() -> Iterator[None]:
    """Fit in one thread. The steps are too small to share: on a busy machine, threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)


def target_tensor(targets: Targets, dtype: torch.dtype) -> torch.Tensor:
    """Targets as torch's cross-entropy takes them: class numbers as they are, distributions in the type of logits."""
    return torch.as_tensor(targets) if targets.ndim == 1 else torch.as_tensor(targets, dtype=dtype)


def logits(net: nn.Module, features: Floats) -> Floats:
    """A network's logits of shape [n, classes], for features of shape [n, dimensions]."""
    with torch.inference_mode():
        dtype = next(net.parameters()).dtype
        result: Floats = net(torch.as_tensor(features, dtype=dtype)).numpy()
    return result
