"""The interface of an encoder, and the recipe that is kept of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError

Recipe: TypeAlias = dict[str, Any]
"""The kind of encoder and the arguments of its `from_pretrained`, as plain data for JSON."""


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors.

    One that turns images into vectors says so: ``modality = "image"``. It gets each image as an `ImageInput`.
    """

    @property
    def name(self) -> str:
        """Its name in a saved scorer, by which it is found again: "auto", a hub name, or a path."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, dimensions]."""


def recipe_of(encoder: Encoder) -> Recipe | None:
    """The data from which `load_encoder` makes an encoder again. None if only its maker could."""
    recipe: Recipe | None = getattr(encoder, "recipe", None)
    return recipe


def check_finite(vectors: NDArray[np.float32]) -> None:
    """Refuse vectors among which a number is not finite. No optimum and no neighbour can be found with them.

    Raises:
        InvalidInputError: There are some.

    Example:
        >>> check_finite(np.eye(2, dtype=np.float32))
    """
    if strange := int(
        (~np.isfinite(vectors.sum(axis=1, dtype=np.float64))).sum()
    ):  # a sum, so that no second table is needed
        msg = f"Got {strange} of {len(vectors)} vectors with a number that is not finite; mend their encoder or texts"
        raise InvalidInputError(msg)
