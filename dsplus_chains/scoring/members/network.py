"""`NetworkMember` is a small network on sentence vectors, with the training that all heads share."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
from dsplus_chains.scoring.members.rationales import Rationales
from dsplus_chains.scoring.members.steps import Steps, pairs
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

BATCH = 64
LEARNING_RATE = 2e-3
FEWEST_STEPS, MOST_STEPS = 720, 1800

STEP_EPOCHS = 7
STEP_RATE = 1e-4
"""Epochs and learning rate of further steps, as in the code of DS (arXiv 2406.15471)."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkMember(ABC):
    """One network, or several copies of it whose logits are averaged.

    A subclass is one head. It says which network is trained, and which one is kept of it.

    Args:
        nets: Networks from scaled vectors to logits. They differ by their random draws alone.
        center: Vector that is subtracted first, of shape [dimensions].
        scale: Number that the result is divided by.

    Source: Kondratyuk et al. 2020 (arXiv 2005.00570) average independently trained copies of one architecture. The mean
    of the logits is the geometric mean of the probabilities, brought to sum one.
    """

    kind: ClassVar[str]

    nets: tuple[nn.Module, ...]
    center: NDArray[np.float32]
    scale: float

    @staticmethod
    @abstractmethod
    def untrained(dimensions: int, n_classes: int) -> nn.Module:
        """A network to train, by the global random state."""

    @staticmethod
    def deployed(net: nn.Module) -> nn.Module:
        """What is kept of a trained network. By default it is the network itself."""
        return net

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.float32],
        targets: Targets,
        n_classes: int,
        *,
        seed: int = 0,
        copies: int = 1,
        rationales: Rationales | None = None,
    ) -> Self:
        """Train with AdamW on a one-cycle schedule, with 720 steps for few examples and up to 1,800 for many.

        Args:
            vectors: Vectors of shape [n, dimensions].
            targets: The class number of each row, or its distribution.
            n_classes: Number of classes.
            seed: Seed of weights, dropout and batches. The global random state stays as it was.
            copies: Number of networks, trained one after the other. Each goes on with the random draws of the last one.
            rationales: Reasons of the rows, which a second head learns to predict while the network is trained. It is
                not kept.
        """
        center = vectors.mean(axis=0)
        scale = float((vectors - center).std()) or 1.0
        x = torch.as_tensor((vectors - center) / scale, dtype=torch.float32)
        y = target_tensor(targets, x.dtype)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nets = tuple(cls._trained(x, y, n_classes, rationales) for _ in range(copies))
        return cls(nets=nets, center=center, scale=scale)

    @classmethod
    def _trained(cls, x: torch.Tensor, y: torch.Tensor, n_classes: int, rationales: Rationales | None) -> nn.Module:
        net = cls.untrained(x.shape[1], n_classes)

        def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(logits, y[rows])

        trained, of_rows = net, lambda rows: loss(net(x[rows]), rows)
        if rationales is not None and rationales.weight:
            trained, of_rows = rationales.beside(net, x, loss)
        one_cycle(
            trained,
            of_rows,
            len(y),
            steps=int(min(MOST_STEPS, max(FEWEST_STEPS, 20 * len(y) / BATCH))),
            size=BATCH,
            rate=LEARNING_RATE,
        )
        return cls.deployed(net).requires_grad_(False).eval()

    def stepped(self, vectors: NDArray[np.float32], steps: Steps, *, seed: int = 0) -> Self:
        """The networks after further steps of gradient descent, taken in pairs.

        The first step of a pair brings a network closer to the other model's distribution on a batch of taught rows.
        The second brings it back to what the small model said of a batch of replayed rows. Each minimises
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
        nets = deepcopy(self.nets)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for net in nets:
                optimizer = torch.optim.Adam(net.requires_grad_(True).train().parameters(), lr=STEP_RATE)
                for _ in range(STEP_EPOCHS):
                    for batches in pairs(len(steps.taught), len(steps.replayed), BATCH, rng):
                        for rows, (seen, targets) in zip(batches, told, strict=True):
                            if len(rows):
                                optimizer.zero_grad()
                                torch.autograd.backward(nn.functional.cross_entropy(net(seen[rows]), targets[rows]))
                                optimizer.step()
                net.requires_grad_(False).eval()
        return replace(self, nets=nets)

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""
        seen = (batch.vectors - self.center) / self.scale
        return log_softmax(np.mean([logits(net, seen) for net in self.nets], axis=0))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        weights = {
            f"{_place(number)}{name}": tensor.numpy()
            for number, net in enumerate(self.nets)
            for name, tensor in net.state_dict().items()
        }
        copies = {"copies": len(self.nets)} if len(self.nets) > 1 else {}
        return {"scale": self.scale, **copies}, {"center": self.center, **weights}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        told = _Settings.model_validate(settings)
        nets = tuple(cls._stored(arrays.part(_place(number))) for number in range(told.copies))
        return cls(nets=nets, center=arrays.floats("center", (arrays.width,)), scale=told.scale)

    @classmethod
    def _stored(cls, arrays: StoredArrays) -> nn.Module:
        net = cls.deployed(cls.untrained(arrays.width, arrays.n_classes))
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        net.load_state_dict({name: torch.from_numpy(arrays.floats(name, shapes[name]).copy()) for name in shapes})
        return net.requires_grad_(False).eval()


class _Settings(Stored):
    scale: float = Field(gt=0)
    copies: int = Field(default=1, ge=1)  # missing where there is one network


def _place(number: int) -> str:
    """What stands before the names of a copy's arrays."""
    return f"net{number or ''}."
