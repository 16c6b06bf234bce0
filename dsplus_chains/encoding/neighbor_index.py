"""The nearest neighbours of vectors, by cosine similarity, in a FAISS index."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Search: TypeAlias = Callable[[Floats, int], tuple[Floats, NDArray[np.int64]]]


def neighbor_index(vectors: Floats) -> Search:
    """Index vectors for exact search.

    Args:
        vectors: Vectors of shape [n, dimensions]. Their length need not be one.

    Returns:
        A search function. It takes queries of shape [m, dimensions] and a number k. It returns the cosine similarities
        and the row numbers of the k nearest vectors, nearest first. Each has shape [m, k]. With fewer than k vectors it
        returns all of them.

    Example:
        >>> search = neighbor_index(np.eye(3, dtype=np.float32))
        >>> similarities, rows = search(np.array([[0.0, 2.0, 0.1]], dtype=np.float32), 2)
        >>> rows.tolist(), similarities.round(2).tolist()
        ([[1, 2]], [[1.0, 0.05000000074505806]])
    """
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(_unit(vectors))

    def search(queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        similarities, rows = index.search(_unit(queries), min(k, index.ntotal))
        return similarities, rows

    return search


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
