"""Prototyped experts: experts stand in groups, and each group sends an input to one of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from dsplus_chains.scoring.members.mlp import HIDDEN, plain
from dsplus_chains.scoring.members.network import NetworkMember

EXPERTS = 8
GROUPS = 2


class PrototypedExpertsMember(NetworkMember):
    """Eight experts in two groups. An input costs what it costs in the plain network, since two experts see it.

    Source: Yang et al. 2021 (arXiv 2105.15082). See `PrototypedExperts`.
    """

    kind: ClassVar[str] = "prototyped_experts"

    @staticmethod
    def untrained(dimensions: int, n_classes: int) -> nn.Module:
        """The experts, as many times narrower than the plain network as there are groups."""
        return PrototypedExperts(dimensions, n_classes)


class PrototypedExperts(nn.Module):
    """The sum of what the groups say, y = sum_g p_g[i_g] E_g[i_g](x) with i_g = argmax p_g.

    Args:
        dimensions: Number of columns that go in.
        n_classes: Number of classes.
        experts: Number of experts, in all groups together.
        groups: Number of groups, which is the number of experts that see an input.

    Source: k top-1 routing of Yang et al. 2021 (arXiv 2105.15082). There is no limit on an expert's inputs, and no loss
    for an uneven load.
    """

    def __init__(self, dimensions: int, n_classes: int, *, experts: int = EXPERTS, groups: int = GROUPS) -> None:
        super().__init__()
        hidden = HIDDEN // groups
        self.groups = nn.ModuleList(
            ExpertGroup(dimensions, n_classes, experts=experts // groups, hidden=hidden) for _ in range(groups)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of shape [n rows, classes]."""
        return torch.stack([group(x) for group in self.groups]).sum(0)


class ExpertGroup(nn.Module):
    """One group. A gate p_g = softmax(W_g x) over its experts alone picks the one that runs, and weighs what it says.

    Args:
        dimensions: Number of columns that go in.
        n_classes: Number of classes.
        experts: Number of experts.
        hidden: Number of hidden units of an expert.
    """

    def __init__(self, dimensions: int, n_classes: int, *, experts: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dimensions, experts, bias=False)
        self.experts = nn.ModuleList(plain(dimensions, n_classes, hidden=hidden) for _ in range(experts))
        self.n_classes = n_classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the picked experts say, times their gates, of shape [n rows, classes]."""
        gates, picked = self.gate(x).softmax(1).max(1)
        said = x.new_zeros(len(x), self.n_classes)
        for number, expert in enumerate(self.experts):
            rows = (picked == number).nonzero()[:, 0]
            if len(rows):
                said = said.index_add(0, rows, gates[rows, None] * expert(x[rows]))
        return said
