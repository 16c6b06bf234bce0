"""What an encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """What a saved scorer calls it, to find it again: "auto", a hub name, or a path."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector a text: an array of shape [n texts, dimensions]."""
