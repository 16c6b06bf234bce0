"""`MlpMember` is a small multi-layer perceptron on sentence vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import nn

from dsplus_chains.scoring.members.network import NetworkMember

HIDDEN = 512
DROPOUT = 0.4


class MlpMember(NetworkMember):
    """One hidden layer with heavy dropout.

    It bends where a linear head cannot, and the dropout keeps it from learning examples by heart.
    """

    kind: ClassVar[str] = "mlp"

    @staticmethod
    def untrained(dimensions: int, n_classes: int) -> nn.Module:
        """The plain network."""
        return plain(dimensions, n_classes)


def plain(
    inputs: int,
    outputs: int,
    *,
    hidden: int = HIDDEN,
    linear: Callable[[int, int], nn.Module] = nn.Linear,
    activation: Callable[[], nn.Module] = nn.GELU,
) -> nn.Sequential:
    """A network with one hidden layer and dropout before each layer.

    Args:
        inputs: Number of columns that go in.
        outputs: Number of columns that come out.
        hidden: Number of hidden units.
        linear: Makes a layer of two sizes.
        activation: Makes the activation of the hidden units.
    """
    return nn.Sequential(
        nn.Dropout(DROPOUT / 2),
        linear(inputs, hidden),
        activation(),
        nn.Dropout(DROPOUT),
        linear(hidden, outputs),
    )
