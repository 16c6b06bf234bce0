"""What an encoder is, and what is kept of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Recipe: TypeAlias = dict[str, Any]
"""The kind of encoder, and what its `from_pretrained` takes; plain data for JSON."""


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """What a saved scorer calls it, to find it again: "auto", a hub name, or a path."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector a text: an array of shape [n texts, dimensions]."""


def recipe_of(encoder: Encoder) -> Recipe | None:
    """What `load_encoder` needs to make an encoder again; None where only its maker could."""
    recipe: Recipe | None = getattr(encoder, "recipe", None)
    return recipe
