"""`EmbeddingsEncoder` uses any LangChain `Embeddings` as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from dsplus_chains.schema import brief_repr


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingsEncoder:
    """Feeds the small model from an embedding model that a LangChain app already has.

    Args:
        embeddings: The embedding model. A batch is one `embed_documents`.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> EmbeddingsEncoder(embeddings=DeterministicFakeEmbedding(size=8)).encode(["a", "b"]).shape
        (2, 8)
    """

    embeddings: Embeddings

    @property
    def name(self) -> str:
        """The class of the embedding model. This name is not enough to load it."""
        return type(self.embeddings).__name__

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, dimensions]."""
        return np.asarray(self.embeddings.embed_documents(list(texts)), dtype=np.float32)
