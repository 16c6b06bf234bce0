"""The nearest neighbours of vectors, by cosine similarity, in a FAISS index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any, NamedTuple, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import check_finite

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


class Cells(NamedTuple):
    """Where each of many vectors is looked for."""

    centres: Floats
    """The centre of each cell, of shape [cells, dimensions]."""
    ranges: Floats
    """The least number of each dimension, and the width of its numbers, of which the integers are parts. It has shape
    [2 * dimensions], for what is left of a vector without its centre."""
    members: Rows
    """The cell of each vector, of shape [n]."""
    near: int
    """Number of cells around a query that are looked at."""


def neighbor_index(vectors: Floats, cells: Cells | None = None) -> Search:
    """Index vectors for search: exact up to `MOST_EXACT` of them, beyond that by cells.

    The cells are found by k-means. A query is compared with the vectors of the cells around it, in integers of 8 bits.
    So many cells are looked at that `RECALL` of the true neighbours are found. The candidates are then compared with
    the query in floats. So a similarity is exact, and a neighbour that was missed has the next one in its place.
    Building the same index again gives the same results.

    Args:
        vectors: Vectors of shape [n, dimensions]. Their length need not be one. They must stay as they are.
        cells: What `cells_of` has found for these vectors. None: it is found now, which takes most of the time.

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
    if len(vectors) <= MOST_EXACT:
        return _exact(vectors)
    return _by_cells(vectors, cells or _found_cells(vectors))


def cells_of(vectors: Floats) -> Cells | None:
    """The cells of vectors, to be kept with them. None for up to `MOST_EXACT` vectors, which need none.

    Args:
        vectors: Vectors of shape [n, dimensions].

    Raises:
        InvalidInputError: As of `neighbor_index`.

    Example:
        >>> cells_of(np.eye(3, dtype=np.float32)) is None
        True
    """
    return None if len(vectors) <= MOST_EXACT else _found_cells(vectors)


def _exact(vectors: Floats) -> Search:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(_unit(vectors))

    def search(queries: Floats, k: int) -> tuple[Floats, Rows]:
        similarities, rows = index.search(_unit(queries), min(k, index.ntotal))
        return similarities, rows

    return search


def _by_cells(vectors: Floats, cells: Cells) -> Search:
    index = _filled(vectors, cells)

    def search(queries: Floats, k: int) -> tuple[Floats, Rows]:
        unit, k = _unit(queries), min(k, len(vectors))
        similarities, rows = _found(index, unit, vectors, k)
        short = np.flatnonzero(rows[:, -1] < 0)  # the cells held fewer than k
        if len(short):
            similarities[short], rows[short] = _compared(unit[short], vectors, k)
        return similarities, rows

    return search


def _found_cells(vectors: Floats) -> Cells:
    check_finite(vectors)
    n = 2 * isqrt(len(vectors))
    index = _empty(vectors.shape[1], n)
    index.cp.seed, index.cp.niter = SEED, ROUNDS
    index.cp.min_points_per_centroid = 1  # FAISS prints a warning if there are fewer
    drawn = np.random.default_rng(SEED).choice(len(vectors), min(A_CELL * n, len(vectors)), replace=False)
    index.train(_unit(vectors[np.sort(drawn)]))
    centres = index.quantizer.reconstruct_n(0, n)
    members = [index.quantizer.search(_unit(vectors[rows]), 1)[1][:, 0] for rows in _chunks(len(vectors), CHUNK)]
    cells = Cells(centres, faiss.vector_to_array(index.sq.trained), np.concatenate(members), near=1)
    return cells._replace(near=_widened(_filled(vectors, cells), vectors))


def _filled(vectors: Floats, cells: Cells) -> Any:
    """The index of the cells, with the vectors in it."""
    index = _empty(vectors.shape[1], len(cells.centres))
    index.quantizer.add(np.ascontiguousarray(cells.centres, dtype=np.float32))
    faiss.copy_array_to_vector(np.ascontiguousarray(cells.ranges, dtype=np.float32), index.sq.trained)
    index.is_trained, index.nprobe = True, cells.near
    for rows in _chunks(len(vectors), CHUNK):
        unit, members = _unit(vectors[rows]), np.ascontiguousarray(cells.members[rows])
        index.add_core(len(unit), faiss.swig_ptr(unit), None, faiss.swig_ptr(members))
    return index


def _empty(width: int, cells: int) -> Any:
    return faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )


def _widened(index: Any, vectors: Floats) -> int:
    """Have the index look at ever more cells, until it finds enough. A vector is not its own neighbour.

    Returns:
        The number of cells.
    """
    drawn = np.random.default_rng(SEED + 1).choice(len(vectors), min(MEASURED, len(vectors)), replace=False)
    unit, k = _unit(vectors[drawn]), min(MEASURED_K + 1, len(vectors))
    least = _compared(unit, vectors, k)[0][:, -1:] - 1e-6  # any of several equal ones will do
    while index.nprobe < index.nlist and (_found(index, unit, vectors, k)[0] >= least)[:, 1:].mean() < RECALL:
        index.nprobe = min(index.nprobe + max(index.nprobe // 4, 1), index.nlist)
    return int(index.nprobe)


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
