"""`Rationales` are reasons as vectors. A head beside the classifier predicts them from the hidden layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dsplus_chains.schema import InvalidInputError, brief_repr


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class Rationales:
    """What the large model said of rows, beside its label.

    Args:
        vectors: The vector of each row's reason, of shape [n rows, dimensions]. NaN for a row without one.
        weight: Weight of the loss on them, beside that on the labels.
    """

    vectors: NDArray[np.float32]
    weight: float

    def part(self, rows: NDArray[np.int64]) -> Rationales | None:
        """Those of some rows. None if none of them has one."""
        vectors = self.vectors[rows]
        return None if np.isnan(vectors).all() else Rationales(vectors=vectors, weight=self.weight)

    def beside(
        self, net: nn.Module, x: torch.Tensor, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """A network with a second head, and the loss of both heads.

        The second head is a linear layer on what the network's last layer gets. It is trained on the squared distance
        to the reasons' vectors, which are centred and scaled so that their mean alone is at distance 1. A row without a
        reason adds nothing. The random draws of the network are those that it would have without the second head.

        Args:
            net: The network, a sequence of layers whose last one gives the logits.
            x: What goes into it, one row for each vector.
            loss: Function from logits and the numbers of their rows to the loss on the labels.

        Returns:
            The module to train, and the function from the numbers of some rows to their loss.

        Raises:
            InvalidInputError: The network has no hidden layer that all classes share.

        Source: the multi-task loss of Distilling step-by-step (Hsieh et al. 2023, arXiv 2305.02301). There a language
            model writes the reason. That a second head predicts its vector is an adaptation.
        """
        if not isinstance(net, nn.Sequential):
            msg = (
                f"Got rationale_weight={self.weight} and a network without one shared hidden layer "
                f"({type(net).__name__}) but expected one with it, such as that of head='mlp'"
            )
            raise InvalidInputError(msg)
        told = ~np.isnan(self.vectors[:, 0])
        known = self.vectors[told]
        scale = float((known - known.mean(axis=0)).std()) or 1.0
        targets = torch.as_tensor(np.where(told[:, None], (self.vectors - known.mean(axis=0)) / scale, 0.0))
        counts = torch.as_tensor(told, dtype=x.dtype)
        shared, last = net[:-1], net[-1]
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            width = shared(x[:1]).shape[1]
        with torch.random.fork_rng(devices=[]):
            second = nn.Linear(width, targets.shape[1])

        def of_both(rows: torch.Tensor) -> torch.Tensor:
            hidden = shared(x[rows])
            distances = (second(hidden) - targets[rows].to(x.dtype)).square().mean(dim=1)
            total: torch.Tensor = loss(last(hidden), rows) + self.weight * (distances * counts[rows]).mean()
            return total

        return nn.ModuleList([net, second]), of_both
