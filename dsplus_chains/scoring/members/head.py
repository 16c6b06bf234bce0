"""The torch head, a multinomial logistic regression on features, fitted to its one optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dsplus_chains.running.one_thread import one_thread_of_blas
from dsplus_chains.scoring.members.regression import optimum

Floats = NDArray[np.float32] | NDArray[np.float64]
Targets = NDArray[np.int64] | NDArray[np.float64]
"""What rows are to teach: a class number a row, or a distribution over the classes a row, of shape [n, classes]."""

WEIGHT_DECAY = 1e-2
"""That of networks."""


def fit_head(
    features: Floats,
    targets: Targets,
    n_classes: int,
    *,
    c: float,
    start: nn.Linear | None = None,
) -> nn.Linear:
    """Fit a linear head by maximum likelihood, with an L2 penalty on its weights.

    The penalty is weighted as by scikit-learn's `C`. The problem is convex, so the result needs no seed; see `optimum`.

    Args:
        features: Features of shape [n, dimensions].
        targets: The class number of each row, in [0, n_classes), or its distribution over the classes.
        n_classes: Number of classes.
        c: The inverse strength of the penalty. A larger value leaves the weights more freedom.
        start: A head that was fitted on many of the same rows. The search is then shorter. It ends at the same place,
            unless the penalty is so weak that hardly anything tells the optimum from its surroundings.

    Returns:
        A layer from features to logits, in double precision.
    """
    shares = np.eye(n_classes)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    begin = None if start is None else np.column_stack([start.weight.numpy(), start.bias.numpy()]).astype(np.float64)
    with one_thread():
        weights = optimum(features.astype(np.float64), shares, penalty=1 / (c * len(features)), start=begin)
    return stored_head(weights[:, :-1], weights[:, -1])


def stored_head(weight: Floats, bias: Floats) -> nn.Linear:
    """The head of weights of shape [n classes, dimensions] and biases of shape [n classes], as they were stored."""
    weights = {"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())}
    head = nn.Linear(weight.shape[1], len(bias), dtype=weights["weight"].dtype)
    head.load_state_dict(weights)
    return head.requires_grad_(False).eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """Fit in one thread. The steps are too small to share: on a busy machine, threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_thread_of_blas:
            yield
    finally:
        torch.set_num_threads(before)


def one_cycle(
    net: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], n: int, *, steps: int, size: int, rate: float
) -> None:
    """Train a network with AdamW on a one-cycle schedule, by the global random state.

    Args:
        net: The network.
        loss: Function from the numbers of some rows to their loss.
        n: Number of rows. Each comes once in an epoch.
        steps: Number of steps.
        size: Number of rows in a batch.
        rate: Highest learning rate.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    done = 0
    while done < steps:
        for rows in torch.split(torch.randperm(n), size)[: steps - done]:
            optimizer.zero_grad()
            torch.autograd.backward(loss(rows))
            optimizer.step()
            schedule.step()
            done += 1


def target_tensor(targets: Targets, dtype: torch.dtype) -> torch.Tensor:
    """Targets as torch's cross-entropy takes them: class numbers as they are, distributions in the type of logits."""
    return torch.as_tensor(targets) if targets.ndim == 1 else torch.as_tensor(targets, dtype=dtype)


def logits(net: nn.Module, features: Floats) -> Floats:
    """A network's logits of shape [n, classes], for features of shape [n, dimensions]."""
    with torch.inference_mode():
        dtype = next(net.parameters()).dtype
        result: Floats = net(torch.as_tensor(features, dtype=dtype)).numpy()
    return result
