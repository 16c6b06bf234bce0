"""Where tuning rows come from. Rows that trained the small model are told, and guarantee nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import (
    InvalidInputError,
    OverlapWarning,
    Prediction,
    Training,
    first_copies,
    share,
    text_hash,
)
from dsplus_chains.scoring.seen_texts import SeenTexts

MOST_SEEN = 0.01
"""Largest share of rows that may have had a part in training where a guarantee is made."""


@dataclass(frozen=True, kw_only=True)
class RowOrigin:
    """Where tuning rows come from.

    Args:
        training: How the small model knows each row from its training. See `Prediction.training`.
        hashes: The hash of each row's text. None if the texts are not known.
    """

    training: tuple[Training | None, ...]
    hashes: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls, predictions: Sequence[Any], *, texts: Sequence[Any] | None = None, out_of_fold: bool | None = None
    ) -> Self:
        """Read the origin of tuning rows.

        Args:
            predictions: The small model's predictions, or the records that hold them.
            texts: The inputs. By default they are the `input` of records.
            out_of_fold: Whether these are training rows, predicted by fits that had not seen them. By default the
                predictions tell.

        Raises:
            InvalidInputError: There are more or fewer texts than predictions. Or they are called out of fold, but
                some come from a fit that had seen them.
        """
        rows = list(predictions)
        if texts is None and rows and all(isinstance(row, Mapping) and "input" in row for row in rows):
            texts = [row["input"] for row in rows]
        if texts is not None and len(texts) != len(rows):
            msg = f"Got {len(texts)} texts for {len(rows)} predictions but expected one for each"
            raise InvalidInputError(msg)
        hashes = None if texts is None else tuple(map(text_hash, texts))
        found = [row.get("prediction") if isinstance(row, Mapping) else row for row in rows]
        marks = [row.training if isinstance(row, Prediction) else None for row in found]
        if out_of_fold:
            if seen := marks.count("seen"):
                msg = (
                    f"Got out_of_fold=True but {seen} of {len(rows)} predictions are for texts that their model was "
                    "fitted on; give scorer.out_of_fold"
                )
                raise InvalidInputError(msg)
            first = range(len(rows)) if hashes is None else first_copies(hashes)
            marks = ["copy" if mark == "copy" or first[row] != row else "out_of_fold" for row, mark in enumerate(marks)]
        return cls(training=tuple(marks), hashes=hashes)

    @property
    def seen(self) -> int:
        """Number of rows that the small model was fitted on."""
        return self.training.count("seen")

    def counted(self, *, guaranteed: bool) -> NDArray[np.int64]:
        """The numbers of the rows that count. Further copies of a training row do not.

        Args:
            guaranteed: Whether a guarantee is to be made from the rows. Then no text counts twice, because copies are
                not drawn independently.
        """
        again = np.array([mark == "copy" for mark in self.training], dtype=np.bool_)
        if guaranteed:
            again |= self.copy_of != np.arange(len(again))
        return np.flatnonzero(~again)

    @property
    def copy_of(self) -> NDArray[np.int64]:
        """For each row, the number of the first row with the same text. Where texts are not known, all differ."""
        return np.array(range(len(self.training)) if self.hashes is None else first_copies(self.hashes), dtype=np.int64)

    @property
    def texts(self) -> SeenTexts | None:
        """The texts, to be kept with what was tuned on them. None if they are not known."""
        return None if self.hashes is None else SeenTexts.of_hashes(self.hashes)

    def check(self, *, guaranteed: bool) -> None:
        """Warn of rows that the small model was fitted on.

        Args:
            guaranteed: Whether a guarantee is to be made from the rows.

        Raises:
            InvalidInputError: It is, and more than `MOST_SEEN` of the rows are training rows, be it out of fold.
        """
        n = len(self.training)
        trained = n - self.training.count(None)
        if guaranteed and trained > MOST_SEEN * n:
            msg = (
                f"Got max_risk with {trained} of {n} tuning rows ({share(trained / n)}) that trained the small model, "
                f"but a guarantee takes rows that had no part in that, not even out of fold (at most "
                f"{share(MOST_SEEN)} may); tune on other rows"
            )
            raise InvalidInputError(msg)
        if self.seen:
            msg = (
                f"{self.seen} of {n} tuning rows ({share(self.seen / n)}) are texts that the small model was fitted "
                "on, so it looks better here than it is; tune on other rows, or on its out-of-fold predictions"
            )
            warnings.warn(msg, OverlapWarning, stacklevel=3)
