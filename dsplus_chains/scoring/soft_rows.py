"""`SoftRows` are texts without a label, and what a small model is to believe of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import TrainingDataError, brief_repr

SLACK = 1e-6
"""Largest difference of a distribution's sum from one."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class SoftRows:
    """Texts without a label, with a distribution for each that the small model is to learn.

    A fold's model must learn nothing that the labels of its fold have told. So each fold has targets of its own, which
    its own model has made.

    Args:
        texts: The texts.
        targets: Distributions of shape [folds + 1, n, classes]. The last are for the fit on all labelled rows. A row of
            NaN is not learned. It is foreseen, which means that the model of each fold predicts it.
        replayed: Whether the target of each row is what the small model itself said. If given, only the network learns
            the rows, by steps after its fit on the labels. See `NetworkMember.stepped`. By default every member is
            fitted on them.

    Raises:
        TrainingDataError: The shapes do not fit, or a row is neither a distribution nor NaN.

    Source: targets that are shared by the folds leak labels into the rows that calibrate the model. Distillation with a
    distribution instead of a label is that of DS+ (arXiv 2406.15471).

    Example:
        >>> SoftRows.unknown(["a", "b"], n_folds=5, n_classes=3).targets.shape
        (6, 2, 3)
    """

    texts: Sequence[str]
    targets: NDArray[np.float64]
    replayed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.targets.ndim != 3 or self.targets.shape[1] != len(self.texts):
            msg = (
                f"Got targets of shape {self.targets.shape} for {len(self.texts)} texts but expected "
                "[folds + 1, texts, classes]"
            )
            raise TrainingDataError(msg)
        known = self.targets[:, self.learned]
        if (known < 0).any() or (np.abs(known.sum(axis=2) - 1) > SLACK).any() or np.isnan(known).any():
            msg = "Got targets that are no distributions but expected shares that sum to 1, or NaN for a whole row"
            raise TrainingDataError(msg)

    @classmethod
    def unknown(cls, texts: Sequence[str], *, n_folds: int, n_classes: int) -> SoftRows:
        """Texts of which nothing is known yet, so that all are foreseen."""
        return cls(texts=texts, targets=np.full((n_folds + 1, len(texts), n_classes), np.nan))

    @property
    def learned(self) -> NDArray[np.int64]:
        """The numbers of the rows that are learned."""
        return np.flatnonzero(~np.isnan(self.targets).all(axis=(0, 2)))

    @property
    def foreseen(self) -> NDArray[np.int64]:
        """The numbers of the rows that are foreseen."""
        return np.flatnonzero(np.isnan(self.targets).all(axis=(0, 2)))

    def taught(self, rows: NDArray[np.int64], targets: NDArray[np.float64]) -> SoftRows:
        """The same texts, where some rows have got their targets.

        Args:
            rows: The numbers of these rows.
            targets: Their distributions, of shape [folds + 1, rows, classes].
        """
        changed = self.targets.copy()
        changed[:, rows] = targets
        return replace(self, targets=changed)
