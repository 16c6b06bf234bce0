"""`SeenTexts` remembers which texts a model was fitted or tuned on, without the texts."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import text_hash


@dataclass(frozen=True, kw_only=True)
class SeenTexts:
    """A set of inputs, of which only hashes of eight bytes are kept. Copies of a text count as the same.

    Args:
        packed: The hashes, rising, as little-endian bytes.

    Example:
        >>> seen = SeenTexts.of(["Broke at once.", "works well"])
        >>> len(seen), seen.has(["broke at ONCE", "works"])
        (2, [True, False])
    """

    packed: bytes = field(repr=False)

    @classmethod
    def of(cls, inputs: Iterable[Any]) -> Self:
        """The set of some inputs, which are texts or plain data."""
        return cls.of_hashes(map(text_hash, inputs))

    @classmethod
    def of_hashes(cls, hashes: Iterable[int]) -> Self:
        """The set of the inputs with these hashes."""
        return cls.of_array(np.array(sorted(set(hashes)), dtype=np.uint64))

    @classmethod
    def of_array(cls, hashes: NDArray[np.uint64]) -> Self:
        """The set that `hashes` gave."""
        return cls(packed=hashes.astype("<u8").tobytes())

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """The hashes, rising."""
        return np.sort(np.frombuffer(self.packed, dtype="<u8").astype(np.uint64))

    def __len__(self) -> int:
        """Number of different inputs."""
        return len(self.packed) // 8

    def has(self, inputs: Iterable[Any]) -> list[bool]:
        """For each input, whether it or a copy of it is in the set."""
        asked = np.array([text_hash(value) for value in inputs], dtype=np.uint64)
        if not len(self):
            return [False] * len(asked)
        nearest = np.minimum(np.searchsorted(self.hashes, asked), len(self) - 1)
        found: list[bool] = (self.hashes[nearest] == asked).tolist()
        return found

    def to_text(self) -> str:
        """The set as a text, for JSON."""
        return base64.b64encode(self.packed).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read back what `to_text` wrote.

        Raises:
            ValueError: It is something else.
        """
        packed = base64.b64decode(text, validate=True)
        if len(packed) % 8:
            msg = f"Got {len(packed)} bytes of hashes but expected eight for each text"
            raise ValueError(msg)
        return cls(packed=packed)
