"""`TrainingRows` tells what a small model was fitted on: how many rows, which texts, and how many contradictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import TrainingDataWarning, first_copies, shown, text_hash
from dsplus_chains.scoring.members.member import Arrays
from dsplus_chains.scoring.seen_texts import SeenTexts

SHOWN = 3
"""Number of contradicting texts that a warning shows."""


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """What is kept of the rows that a small model was fitted on.

    Args:
        n: Number of rows.
        texts: The texts. Copies of a text are one.
        conflicting: Number of texts that come with several labels.
    """

    n: int
    texts: SeenTexts
    conflicting: int = 0

    @property
    def summary(self) -> list[str]:
        """What a user should know of the rows, in lines of text. There are none if each row has a text of its own."""
        if self.n == len(self.texts):
            return []
        several = f"; {self.conflicting} texts have several labels" if self.conflicting else ""
        copies = f"{self.n - len(self.texts)} of {self.n} rows repeat the text of another"
        return [f"copies: {copies}, and each text counts once out of fold{several}"]

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        return {"n": self.n, "conflicting": self.conflicting}, {"training_texts": self.texts.hashes}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: Arrays) -> Self:
        """The rows from their state.

        Raises:
            ValueError: The texts are missing, or are no rising hashes of these rows.
        """
        hashes = arrays.get("training_texts")
        if hashes is None or hashes.dtype != np.uint64 or hashes.ndim != 1 or not 0 < len(hashes) <= settings["n"]:
            msg = f"Got no hashes of {settings['n']} training texts or fewer"
            raise ValueError(msg)
        if (hashes[1:] <= hashes[:-1]).any() or settings["conflicting"] > len(hashes):
            msg = "Got hashes of training texts that do not rise, or more contradictions than texts"
            raise ValueError(msg)
        return cls(texts=SeenTexts.of_array(hashes), **settings)


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Which training rows are copies of which.

    Args:
        copy_of: For each row, the number of the first row with the same text. See `text_key`.
        rows: What is kept of the rows.
    """

    copy_of: NDArray[np.int64]
    rows: TrainingRows

    @classmethod
    def find(cls, texts: Sequence[str], labels: Sequence[Any], *, further: Sequence[str] = ()) -> Self:
        """Find the copies among training rows, and warn of copies that contradict each other.

        Args:
            texts: The texts.
            labels: Their labels.
            further: Texts without a label that the model sees too.
        """
        hashes = [text_hash(text) for text in texts]
        copy_of = first_copies(hashes)
        given: dict[int, dict[Any, None]] = {}
        for first, label in zip(copy_of, labels, strict=True):
            given.setdefault(first, {})[label] = None
        several = {first: list(found) for first, found in given.items() if len(found) > 1}
        if several:
            examples = [f"{shown(texts[row])} ({', '.join(map(repr, found))})" for row, found in several.items()]
            msg = (
                f"Got {len(several)} of {len(given)} texts with several labels, such as {'; '.join(examples[:SHOWN])}. "
                "All rows are kept. Mend the labels if only one can be right"
            )
            warnings.warn(msg, TrainingDataWarning, stacklevel=3)
        seen = SeenTexts.of_hashes([*hashes, *map(text_hash, further)])
        rows = TrainingRows(n=len(texts) + len(further), texts=seen, conflicting=len(several))
        return cls(copy_of=np.array(copy_of, dtype=np.int64), rows=rows)
