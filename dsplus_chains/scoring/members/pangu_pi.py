"""PanGu-pi: a series of activations, and a second shortcut beside the first."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import nn

from dsplus_chains.scoring.members.mlp import HIDDEN, plain
from dsplus_chains.scoring.members.network import NetworkMember

ACTIVATIONS = 2
"""Number of activations in the series, as in the paper."""

NARROWING = 32
"""How many times narrower the second shortcut is than the vector, as in the paper."""


class PanguPiMember(NetworkMember):
    """A block of PanGu-pi, a layer norm, and a linear classifier.

    Source: Wang et al. 2023 (arXiv 2312.17276). See `PanguPiBlock`.
    """

    kind: ClassVar[str] = "pangu_pi"

    @staticmethod
    def untrained(dimensions: int, n_classes: int) -> nn.Module:
        """The block with all that the paper adds to it, and the classifier."""
        return nn.Sequential(PanguPiBlock(dimensions), nn.LayerNorm(dimensions), nn.Linear(dimensions, n_classes))


class PanguPiBlock(nn.Module):
    """A plain block with a series of activations, and with two shortcuts around it.

    The block is z -> MLP(z) + z + T(z). T is a bottleneck, Up(GELU(Down(z))).

    Args:
        dimensions: Number of columns that go in, and come out.
        activations: Number of activations in the series.
        shortcut: Whether z and T(z) are added.

    Source: Wang et al. 2023 (arXiv 2312.17276). There the augmented shortcut goes around the attention. A head has
    none, so here it goes around the network.
    """

    def __init__(self, dimensions: int, *, activations: int = ACTIVATIONS, shortcut: bool = True) -> None:
        super().__init__()
        self.mlp = plain(dimensions, dimensions, activation=partial(SeriesActivation, HIDDEN, activations))
        narrow = max(1, dimensions // NARROWING)
        way = nn.Sequential(nn.Linear(dimensions, narrow), nn.GELU(), nn.Linear(narrow, dimensions))
        self.way = way if shortcut else None

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The block's output, of the shape of its input."""
        out: torch.Tensor = self.mlp(z)
        return out if self.way is None else out + z + self.way(z)


class SeriesActivation(nn.Module):
    """The sum of n activations, sigma_s(x) = sum_i GELU(a_i x + b_i), where a_i and b_i are learned for each unit.

    The first starts as the plain activation, a_1 = 1 and b_1 = 0. The others start with a random a_i, so that they
    learn something else.

    Args:
        units: Number of units.
        n: Number of activations. With one, it starts as GELU itself.

    Source: the series informed activation of Wang et al. 2023 (arXiv 2312.17276).
    """

    def __init__(self, units: int, n: int) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.cat([torch.ones(1, units), torch.randn(n - 1, units)]))
        self.shifts = nn.Parameter(torch.zeros(n, units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The activated units, of shape [n rows, units]."""
        return nn.functional.gelu(x[:, None] * self.slopes + self.shifts).sum(1)
