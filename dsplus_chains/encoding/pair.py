"""`PairEncoder` makes one vector of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder, Recipe, recipe_of
from dsplus_chains.schema import brief_repr, read_pair


def pair_features(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features of pairs of vectors: both, their distance in each direction, and their product in each.

    The products are small numbers, so they are brought to the scale of the others.

    Args:
        first: Vectors u of shape [n, dimensions].
        second: Vectors v of the same shape.

    Returns:
        u, v, |u - v| and u * v side by side, of shape [n, 4 * dimensions].

    Source: InferSent (Conneau et al. 2017, arXiv 1705.02364, section 3.1).

    Example:
        >>> u, v = np.array([[1.0, 0.0]], dtype=np.float32), np.array([[0.0, 1.0]], dtype=np.float32)
        >>> pair_features(u, v).tolist()
        [[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
    """
    products = first * second * np.float32(np.sqrt(first.shape[1]))
    return np.hstack([first, second, np.abs(first - second), products])


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class PairEncoder:
    """An encoder of pairs, over an encoder of texts.

    A batch is one encode. A text that comes several times in it, such as the question to many documents, is encoded
    once.

    Args:
        encoder: Encoder of the texts.

    Raises:
        InvalidInputError: A text is no pair.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from dsplus_chains.encoding.embeddings import EmbeddingsEncoder
        >>> encoder = PairEncoder(encoder=EmbeddingsEncoder(embeddings=DeterministicFakeEmbedding(size=8)))
        >>> encoder.encode([("where?", "here"), ("where?", "there")]).shape
        (2, 32)
    """

    encoder: Encoder

    @property
    def name(self) -> str:
        """The name of the encoder of the texts."""
        return self.encoder.name

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the encoder of the texts. Whoever keeps it also keeps that it is for pairs."""
        return recipe_of(self.encoder)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each pair, as an array of shape [n pairs, 4 * dimensions]."""
        sides = [read_pair(text).sides for text in texts]
        once = list(dict.fromkeys(side for pair in sides for side in pair))
        row_of = {side: row for row, side in enumerate(once)}
        vectors = self.encoder.encode(once)
        first, second = (vectors[[row_of[pair[side]] for pair in sides]] for side in (0, 1))
        return pair_features(first, second)
