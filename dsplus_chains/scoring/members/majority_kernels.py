"""Majority kernels: a layer is trained as a random mean of several, and kept as their plain mean."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from dsplus_chains.scoring.members.mlp import plain
from dsplus_chains.scoring.members.network import NetworkMember

KERNELS = 3


class MajorityKernelsMember(NetworkMember):
    """The plain network, trained at three times its size and kept at its size.

    Further steps (`stepped`) are taken by the network that is kept.

    Source: Mazzawi et al. 2024 (arXiv 2402.05033). See `MajorityLinear`.
    """

    kind: ClassVar[str] = "majority_kernels"

    @staticmethod
    def untrained(dimensions: int, n_classes: int) -> nn.Module:
        """The plain network, of layers with several kernels each."""
        return plain(dimensions, n_classes, linear=MajorityLinear)

    @staticmethod
    def deployed(net: nn.Module) -> nn.Module:
        """The plain network of the mean kernels. It gives the logits that the trained network gives when evaluated."""
        return nn.Sequential(*(one.mean() if isinstance(one, MajorityLinear) else one for one in net.children()))


class MajorityLinear(nn.Module):
    """A linear layer of several kernels W_1 to W_e, each with its biases.

    Each training step draws shares a, uniform among all that sum to one, and works with sum_i a_i W_i. Evaluation works
    with the mean, (1/e) sum_i W_i.

    Args:
        inputs: Number of columns that go in.
        outputs: Number of columns that come out.
        kernels: Number of kernels.

    Source: Mazzawi et al. 2024 (arXiv 2402.05033). The law of the shares is our choice.
    """

    def __init__(self, inputs: int, outputs: int, kernels: int = KERNELS) -> None:
        super().__init__()
        layers = [nn.Linear(inputs, outputs) for _ in range(kernels)]
        self.weights = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.biases = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with shares that are drawn in training, and even in evaluation."""
        if not self.training:
            return nn.functional.linear(x, self.weights.mean(0), self.biases.mean(0))
        drawn = torch.empty(len(self.weights)).exponential_()
        shares = drawn / drawn.sum()
        return nn.functional.linear(x, torch.tensordot(shares, self.weights, 1), shares @ self.biases)

    def mean(self) -> nn.Linear:
        """The plain layer of the mean kernel."""
        layer = nn.Linear(self.weights.shape[2], self.weights.shape[1])
        layer.load_state_dict({"weight": self.weights.mean(0), "bias": self.biases.mean(0)})
        return layer
