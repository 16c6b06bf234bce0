"""`MlpMember` is a small multi-layer perceptron on sentence vectors."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from dsplus_chains.schema import Stored, brief_repr
from dsplus_chains.scoring.members.head import Targets, logits, one_cycle, one_thread, target_tensor
from dsplus_chains.scoring.members.member import Arrays, TextBatch, log_softmax
from dsplus_chains.scoring.members.steps import Steps, pairs
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

HIDDEN = 512
DROPOUT = 0.4
BATCH = 64
LEARNING_RATE = 2e-3

STEP_EPOCHS = 7
STEP_RATE = 1e-4
"""Epochs and learning rate of further steps, as in the code of DS (arXiv 2406.15471)."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class MlpMember:
    """One hidden layer with heavy dropout.

    It bends where a linear head cannot, and the dropout keeps it from learning examples by heart.

    Args:
        net: Network from scaled vectors to logits.
        center: Vector that is subtracted first, of shape [dimensions].
        scale: Number that the result is divided by.
    """

    kind: ClassVar[str] = "mlp"

    net: nn.Sequential
    center: NDArray[np.float32]
    scale: float

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], targets: Targets, n_classes: int, *, seed: int = 0) -> Self:
        """Train with AdamW on a one-cycle schedule, with 720 steps for few examples and up to 1,800 for many.

        Args:
            vectors: Vectors of shape [n, dimensions].
            targets: The class number of each row, or its distribution.
            n_classes: Number of classes.
            seed: Seed of weights, dropout and batches. The global random state stays as it was.
        """
        center = vectors.mean(axis=0)
        scale = float((vectors - center).std()) or 1.0
        x = torch.as_tensor((vectors - center) / scale, dtype=torch.float32)
        y = target_tensor(targets, x.dtype)
        steps = int(min(1800, max(720, 20 * len(y) / BATCH)))
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = _net(x.shape[1], n_classes)
            one_cycle(
                net,
                lambda rows: nn.functional.cross_entropy(net(x[rows]), y[rows]),
                len(y),
                steps=steps,
                size=BATCH,
                rate=LEARNING_RATE,
            )
        return cls(net=net.requires_grad_(False).eval(), center=center, scale=scale)

    def stepped(self, vectors: NDArray[np.float32], steps: Steps, *, seed: int = 0) -> Self:
        """The network after further steps of gradient descent, taken in pairs.

        The first step of a pair brings it closer to the other model's distribution on a batch of taught rows. The
        second brings it back to what the small model said of a batch of replayed rows. Each minimises
        KL(target || network).

        Args:
            vectors: Vectors of the rows that `steps` names, of shape [n, dimensions].
            steps: The rows and their targets.
            seed: Seed of dropout and batches. The global random state stays as it was.

        Source: two-stage confidence distillation of DS+ (arXiv 2406.15471, section 3), on logits.
        """
        x = torch.as_tensor((vectors - self.center) / self.scale, dtype=torch.float32)
        sides = ((steps.taught, steps.targets), (steps.replayed, steps.beliefs))
        told = [(x[rows], torch.as_tensor(targets, dtype=x.dtype)) for rows, targets in sides]
        rng = np.random.default_rng(seed)
        net = deepcopy(self.net).requires_grad_(True).train()
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            optimizer = torch.optim.Adam(net.parameters(), lr=STEP_RATE)
            for _ in range(STEP_EPOCHS):
                for batches in pairs(len(steps.taught), len(steps.replayed), BATCH, rng):
                    for rows, (seen, targets) in zip(batches, told, strict=True):
                        if len(rows):
                            optimizer.zero_grad()
                            torch.autograd.backward(nn.functional.cross_entropy(net(seen[rows]), targets[rows]))
                            optimizer.step()
        return replace(self, net=net.requires_grad_(False).eval())

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""
        return log_softmax(logits(self.net, (batch.vectors - self.center) / self.scale))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        weights = {f"net.{name}": tensor.numpy() for name, tensor in self.net.state_dict().items()}
        return {"scale": self.scale}, {"center": self.center, **weights}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        net = _net(arrays.width, arrays.n_classes)
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        weights = {name: torch.from_numpy(arrays.floats(f"net.{name}", shape).copy()) for name, shape in shapes.items()}
        net.load_state_dict(weights)
        center = arrays.floats("center", (arrays.width,))
        return cls(net=net.requires_grad_(False).eval(), center=center, scale=_Settings.model_validate(settings).scale)


class _Settings(Stored):
    scale: float = Field(gt=0)


def _net(dimensions: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(DROPOUT / 2),
        nn.Linear(dimensions, HIDDEN),
        nn.GELU(),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, n_classes),
    )
