"""The nearest neighbours of vectors, by cosine similarity, in a FAISS index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Search: TypeAlias = Callable[[Floats, int], tuple[Floats, Rows]]

MOST_EXACT = 100_000
"""Most vectors that are all compared with a query. Of more, only those in the cells around it are."""
RECALL = 0.985
"""Share of the true nearest neighbours that are to be found among more vectors. It is measured on some of them."""
MEASURED, MEASURED_K = 200, 20
"""Number of vectors on which that is measured, and number of neighbours of each."""
A_CELL, ROUNDS = 40, 10
"""Number of vectors by which the centre of a cell is found, and of rounds of k-means."""
CHUNK = 10_000
"""Number of vectors, or of candidates, that are looked at in floats at a time."""
SEED = 0


def neighbor_index(vectors: Floats) -> Search:
    """Index vectors for search: exact up to `MOST_EXACT` of them, beyond that by cells.

    The cells are found by k-means. A query is compared with the vectors of the cells around it, in integers of 8 bits.
    So many cells are looked at that `RECALL` of the true neighbours are found. The candidates are then compared with
    the query in floats. So a similarity is exact, and a neighbour that was missed has the next one in its place.
    Building the same index again gives the same results.

    Args:
        vectors: Vectors of shape [n, dimensions]. Their length need not be one. They must stay as they are.

    Returns:
        A search function. It takes queries of shape [m, dimensions] and a number k. It returns the cosine similarities
        and the row numbers of the k nearest vectors, nearest first. Each has shape [m, k]. With fewer than k vectors it
        returns all of them.

    Raises:
        InvalidInputError: There are more than `MOST_EXACT` vectors, and one of them is not finite.

    Source: Jégou et al., "Product Quantization for Nearest Neighbor Search" (TPAMI 2011), for the cells. FAISS's
    `IndexIVFScalarQuantizer` is the index.

    Example:
        >>> search = neighbor_index(np.eye(3, dtype=np.float32))
        >>> similarities, rows = search(np.array([[0.0, 2.0, 0.1]], dtype=np.float32), 2)
        >>> rows.tolist(), similarities.round(2).tolist()
        ([[1, 2]], [[1.0, 0.05000000074505806]])
    """
    return _exact(vectors) if len(vectors) <= MOST_EXACT else _by_cells(vectors)


def _exact(vectors: Floats) -> Search:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(_unit(vectors))

    def search(queries: Floats, k: int) -> tuple[Floats, Rows]:
        similarities, rows = index.search(_unit(queries), min(k, index.ntotal))
        return similarities, rows

    return search


def _by_cells(vectors: Floats) -> Search:
    if strange := sum(int((~np.isfinite(vectors[rows])).any(axis=1).sum()) for rows in _chunks(len(vectors), CHUNK)):
        msg = f"Got {strange} of {len(vectors)} vectors with a number that is not finite; mend their encoder or texts"
        raise InvalidInputError(msg)
    index = _cells(vectors)

    def search(queries: Floats, k: int) -> tuple[Floats, Rows]:
        unit, k = _unit(queries), min(k, len(vectors))
        similarities, rows = _found(index, unit, vectors, k)
        short = np.flatnonzero(rows[:, -1] < 0)  # the cells held fewer than k
        if len(short):
            similarities[short], rows[short] = _compared(unit[short], vectors, k)
        return similarities, rows

    return search


def _cells(vectors: Floats) -> Any:
    """The index of cells, with the vectors in it."""
    width, cells = vectors.shape[1], 2 * isqrt(len(vectors))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed, index.cp.niter = SEED, ROUNDS
    index.cp.min_points_per_centroid = 1  # FAISS prints a warning if there are fewer
    drawn = np.random.default_rng(SEED).choice(len(vectors), min(A_CELL * cells, len(vectors)), replace=False)
    index.train(_unit(vectors[np.sort(drawn)]))
    for rows in _chunks(len(vectors), CHUNK):
        index.add(_unit(vectors[rows]))
    _widen(index, vectors)
    return index


def _widen(index: Any, vectors: Floats) -> None:
    """Have the index look at ever more cells, until it finds enough. A vector is not its own neighbour."""
    drawn = np.random.default_rng(SEED + 1).choice(len(vectors), min(MEASURED, len(vectors)), replace=False)
    unit, k = _unit(vectors[drawn]), min(MEASURED_K + 1, len(vectors))
    least = _compared(unit, vectors, k)[0][:, -1:] - 1e-6  # any of several equal ones will do
    while index.nprobe < index.nlist and (_found(index, unit, vectors, k)[0] >= least)[:, 1:].mean() < RECALL:
        index.nprobe = min(index.nprobe + max(index.nprobe // 4, 1), index.nlist)


def _found(index: Any, unit: Floats, vectors: Floats, k: int) -> tuple[Floats, Rows]:
    """What is nearest in the cells around each query. Where they hold fewer than k, the last rows are -1."""
    near = index.search(unit, min(2 * k, len(vectors)))[1]  # more than k, because integers are less exact
    alike = np.empty(near.shape, dtype=np.float32)
    for rows in _chunks(len(near), max(CHUNK // near.shape[1], 1)):
        candidates = near[rows]
        each = _unit(vectors[candidates.ravel()]).reshape(*candidates.shape, -1)
        alike[rows] = np.einsum("md,mcd->mc", unit[rows], each)
    return _first(np.where(near < 0, -np.inf, alike), near, k)


def _compared(unit: Floats, vectors: Floats, k: int) -> tuple[Floats, Rows]:
    """The k nearest to each query, of all vectors."""
    alike, near = [], []
    for rows in _chunks(len(vectors), CHUNK):
        part = _unit(vectors[rows])
        similarities, found = faiss.knn(unit, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        alike.append(similarities)
        near.append(found + rows.start)
    return _first(np.concatenate(alike, axis=1), np.concatenate(near, axis=1), k)


def _first(similarities: Floats, rows: Rows, k: int) -> tuple[Floats, Rows]:
    """The k nearest. Of equal ones, that with the smaller row number comes first."""
    order = np.lexsort((rows, -similarities))[:, :k]
    return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _chunks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
