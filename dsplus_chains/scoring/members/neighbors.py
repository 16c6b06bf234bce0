"""`NeighborMember` uses the votes of the nearest training examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import BundleError, Stored, brief_repr
from dsplus_chains.scoring.members.head import Targets
from dsplus_chains.scoring.members.member import Arrays, TextBatch
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

if TYPE_CHECKING:
    from dsplus_chains.encoding.neighbor_index import Cells  # loads faiss

CLOSEST = 5
"""Number of neighbours that measure a text's distance from the training examples."""
MEASURED = 20_000
"""Most examples whose distance from the others is measured. So a quantile of 0.99 has a standard error of .0007."""
CHUNK = 4096
"""Number of examples that are looked up at a time."""
FLOOR = 1e-3
"""The vote that every class gets, so that none is impossible."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class NeighborMember:
    """The k nearest training examples vote. A vote weighs less if its example is farther than the nearest one.

    Args:
        vectors: Vectors of the training examples, of shape [n, dimensions].
        targets: Their class numbers, or their distributions. An example shares its vote among its classes.
        n_classes: Number of classes.
        k: Number of neighbours that vote.
        sharpness: The weight of a neighbour is exp(sharpness * (its cosine similarity - the nearest one's)).
        cells: The cells in which neighbours among many examples are looked for. None where there are few, or in a model
            that was saved without them. They are then found at the first answer.
    """

    kind: ClassVar[str] = "neighbors"

    vectors: NDArray[np.float32]
    targets: Targets
    n_classes: int
    k: int = 20
    sharpness: float = 20.0
    cells: Cells | None = None
    _building: ForkLock = field(default_factory=ForkLock, init=False, repr=False, compare=False)

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], targets: Targets, n_classes: int) -> Self:
        """Keep the examples, and the cells of many examples.

        Args:
            vectors: Vectors of shape [n, dimensions].
            targets: The class number of each row, or its distribution.
            n_classes: Number of classes.
        """
        from dsplus_chains.encoding.neighbor_index import cells_of  # faiss loads on first use

        return cls(vectors=vectors, targets=targets, n_classes=n_classes, cells=cells_of(vectors))

    @cached_property
    def _index(self) -> Any:
        from dsplus_chains.encoding.neighbor_index import neighbor_index

        return neighbor_index(self.vectors, self.cells)

    @property
    def _search(self) -> Any:
        with self._building:  # of a million vectors that takes minutes, so only one thread does it
            return self._index

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""
        similarities, rows = self._nearest(batch)
        weights = np.exp(self.sharpness * (similarities - similarities[:, :1]).astype(np.float64))
        votes = np.full((len(rows), self.n_classes), FLOOR)
        if self.targets.ndim == 1:
            np.add.at(votes, (np.arange(len(rows))[:, None], self.targets[rows]), weights)
        else:
            votes += np.einsum("nk,nkc->nc", weights, self.targets[rows])
        result: NDArray[np.float64] = np.log(votes / votes.sum(axis=1, keepdims=True))
        return result

    def distances(self, batch: TextBatch) -> NDArray[np.float64]:
        """Each text's distance from the training examples.

        It is one minus the mean cosine similarity of the nearest examples.

        Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors" (arXiv 2204.06507). They take
        the k-th neighbour. The mean of the `CLOSEST` separates intents a little better.
        """
        return _mean_distance(self._nearest(batch)[0])

    def own_distances(self) -> NDArray[np.float64]:
        """The same distance for distinct training examples, measured to the other examples.

        Of more than `MEASURED` examples so many are drawn, because all pairs of a million would take days.
        """
        from dsplus_chains.encoding.neighbor_index import neighbor_index

        distinct = np.unique(self.vectors.round(5), axis=0)
        if len(distinct) < 2:
            return np.zeros(1)
        measured = distinct
        if len(distinct) > MEASURED:
            measured = distinct[np.random.default_rng(0).choice(len(distinct), MEASURED, replace=False)]
        search = neighbor_index(distinct)
        chunks = [measured[start : start + CHUNK] for start in range(0, len(measured), CHUNK)]
        return np.concatenate([_mean_distance(search(chunk, CLOSEST + 1)[0][:, 1:]) for chunk in chunks])

    def _nearest(self, batch: TextBatch) -> Any:
        return batch.once(self, lambda: self._search(batch.vectors, self.k))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        cells = {} if self.cells is None else self.cells._asdict()
        found = {f"cells.{name}": np.atleast_1d(part) for name, part in cells.items()}
        settings = {"n_classes": self.n_classes, "k": self.k, "sharpness": self.sharpness}
        taught = {"targets": self.targets} if self.targets.ndim == 1 else {"shares": self.targets}
        return settings, {"vectors": self.vectors, **taught, **found}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        told = _Settings.model_validate(settings)
        if told.n_classes != arrays.n_classes:
            msg = f"Got neighbours of {told.n_classes} classes but {arrays.n_classes} labels; fit anew"
            raise BundleError(msg)
        vectors = arrays.floats("vectors", (None, arrays.width))
        if arrays.has("shares"):
            targets: Targets = arrays.floats("shares", (len(vectors), arrays.n_classes))
        else:
            targets = arrays.numbers_below("targets", (len(vectors),), arrays.n_classes)
        cells = _cells_in(arrays.part("cells."), len(vectors)) if arrays.has("cells.centres") else None
        return cls(vectors=vectors, targets=targets, cells=cells, **dict(told))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_index"}  # an index is not picklable


class _Settings(Stored):
    n_classes: int
    k: int = Field(ge=1)
    sharpness: float = Field(gt=0, le=1e6)


def _cells_in(arrays: StoredArrays, n: int) -> Cells:
    """The cells of n examples.

    Raises:
        BundleError: Something is missing or damaged.
    """
    from dsplus_chains.encoding.neighbor_index import Cells

    centres = arrays.floats("centres", (None, arrays.width))
    return Cells(
        centres,
        arrays.floats("ranges", (2 * arrays.width,)),
        arrays.numbers_below("members", (n,), len(centres)),
        near=max(int(arrays.numbers_below("near", (1,), len(centres) + 1)[0]), 1),
    )


def _mean_distance(similarities: NDArray[np.float32]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 - similarities[:, :CLOSEST].astype(np.float64).mean(axis=1)
    return np.maximum(result, 0.0)
