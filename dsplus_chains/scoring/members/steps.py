"""`Steps`: what a fitted network is taught further, in pairs of batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """Rows that another model has answered, and rows that the small model itself was sure of.

    Args:
        taught: The rows that the other model has answered.
        targets: Its distribution over the classes for each, of shape [n, classes].
        replayed: The rows that are replayed, so that nothing is forgotten.
        beliefs: What the small model said of each before the steps, of shape [n, classes].
    """

    taught: NDArray[np.int64]
    targets: NDArray[np.float64]
    replayed: NDArray[np.int64]
    beliefs: NDArray[np.float64]


def pairs(
    n_taught: int, n_replayed: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The batches of one epoch, as numbers of rows. Each batch of taught rows is followed by one of replayed rows.

    Each taught row comes once. Replayed rows are drawn anew for each batch. A batch holds at most all of them.

    Args:
        n_taught: Number of taught rows.
        n_replayed: Number of rows to replay.
        size: Number of rows in a batch.
        rng: The source of chance.

    Example:
        >>> [(len(taught), len(replayed)) for taught, replayed in pairs(5, 9, 2, np.random.default_rng(0))]
        [(2, 2), (2, 2), (1, 2)]
    """
    order = rng.permutation(n_taught)
    for start in range(0, n_taught, size):
        yield order[start : start + size], rng.permutation(n_replayed)[:size]
