"""`HeldOut` is what a small model said of its own training examples before it had seen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.schema import BundleError, brief_repr, text_hash
from dsplus_chains.scoring.members.member import Arrays
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

ENOUGH_TO_TELL = 100
"""Smallest number of different examples for a track record. With fewer, one or two bins would say the same of all
inputs."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Out-of-fold predictions for labelled examples, one row a text.

    Args:
        texts: The hash of each text. See `text_hash`.
        targets: The class number of each row's label.
        logs: Log-probabilities of shape [n, classes], from fits that had not seen the row or a copy of it.
    """

    texts: NDArray[np.uint64]
    targets: NDArray[np.int64]
    logs: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        targets: NDArray[np.int64],
        logs: NDArray[np.float64] | None,
        *,
        judged: NDArray[np.int64] | None,
    ) -> HeldOut | None:
        """The rows that a fit is judged by. None if nothing was held out.

        Args:
            texts: All texts.
            targets: The class number of each.
            logs: Out-of-fold log-probabilities of shape [n texts, classes]. None with too few examples.
            judged: The numbers of the rows, one of each text. None likewise.
        """
        if logs is None or judged is None:
            return None
        hashes = np.array([text_hash(texts[row]) for row in judged.tolist()], dtype=np.uint64)
        return cls(texts=hashes, targets=targets[judged], logs=logs[judged])

    def track_record(self) -> TrackRecord | None:
        """How often it was right at about a given confidence. None with few examples."""
        if np.isfinite(self.logs).all(axis=1).sum() < ENOUGH_TO_TELL:
            return None
        return TrackRecord.fit(np.exp(self.logs.max(axis=1)), self.logs.argmax(axis=1) == self.targets)

    def arrays(self) -> Arrays:
        """The rows as arrays to keep."""
        return {
            "held_out.texts": self.texts,
            "held_out.targets": self.targets,
            "held_out.logs": self.logs.astype(np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_classes: int) -> HeldOut | None:
        """Read back what `arrays` wrote. None in a folder from before these rows were kept.

        Raises:
            BundleError: An array is missing, or another one.
        """
        stored = StoredArrays(arrays=arrays, n_classes=n_classes, width=0, place="held_out.")
        if not stored.has("logs"):
            return None
        logs = stored.floats("logs", (None, n_classes)).astype(np.float64)
        if (np.abs(np.exp(logs).sum(axis=1) - 1) > 1e-3).any():
            msg = "Got held-out rows that are no log-probabilities; the scorer is damaged, fit it anew"
            raise BundleError(msg)
        return cls(
            texts=stored.hashes("texts", (len(logs),)),
            targets=stored.numbers_below("targets", (len(logs),), n_classes),
            logs=logs,
        )
