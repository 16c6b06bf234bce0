"""`LikenessMember` is a logistic regression on how alike the two texts of a pair are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dsplus_chains.schema import brief_repr, read_pair
from dsplus_chains.scoring.members.head import Targets, fit_head, logits, stored_head
from dsplus_chains.scoring.members.member import Arrays, TextBatch, log_softmax
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

_WORD = re.compile(r"\w+")
MEASURES = 9
"""Number of measures of a pair."""


def overlap(first: str, second: str) -> list[float]:
    """What two texts share, in shares from 0 to 1.

    Returns:
        The share of the first text's words that the second has, and the reverse. The share of all words that both have.
        The same three for groups of four letters within words. The shorter text's length in terms of the longer one's.
        Whether all numbers in the first text are in the second.

    Example:
        >>> overlap("Order 7 is late.", "order 7 was late")
        [0.75, 0.75, 0.6, 0.8, 0.8, 0.6666666666666666, 1.0, 1.0]
    """
    one, other = (_WORD.findall(text.casefold()) for text in (first, second))
    fours = [{word[at : at + 4] for word in words for at in range(max(1, len(word) - 3))} for words in (one, other)]
    lengths = sorted((len(one), len(other)))
    numbers = {word for word in one if word.isdigit()}
    return [
        *_shares({*one}, {*other}),
        *_shares(*fours),
        lengths[0] / max(lengths[1], 1),
        float(numbers <= {*other}),
    ]


def _shares(one: set[str], other: set[str]) -> tuple[float, float, float]:
    both = len(one & other)
    return both / max(len(one), 1), both / max(len(other), 1), both / max(len(one | other), 1)


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class LikenessMember:
    """A linear model over what both texts of a pair share, and over the cosine of their vectors.

    It has few weights. So what it learns holds for texts of a kind that it has never seen.

    Args:
        head: Layer from the measures to logits.
    """

    kind: ClassVar[str] = "likeness"

    head: nn.Linear

    @classmethod
    def fit(cls, measures: NDArray[np.float64], targets: Targets, n_classes: int, *, c: float = 10.0) -> Self:
        """Fit the regression.

        Args:
            measures: Measures of shape [n, `MEASURES`]; see `measures_of`.
            targets: The class number of each row, or its distribution.
            n_classes: Number of classes.
            c: The inverse strength of the L2 penalty.
        """
        return cls(head=fit_head(measures, targets, n_classes, c=c))

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n pairs, classes]."""
        return log_softmax(logits(self.head, measures_of(batch)))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        return {}, {"weight": self.head.weight.numpy(), "bias": self.head.bias.numpy()}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        del settings
        weight, bias = arrays.floats("weight", (arrays.n_classes, MEASURES)), arrays.floats("bias", (arrays.n_classes,))
        return cls(head=stored_head(weight, bias))


def measures_of(batch: TextBatch) -> NDArray[np.float64]:
    """What the texts of each pair share, and the cosine of their vectors, of shape [n pairs, `MEASURES`]."""
    return batch.once("likeness", lambda: _measures(batch.texts, batch.vectors))


def _measures(texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    first, second = np.split(vectors.astype(np.float64), 4, axis=1)[:2]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = (first * second).sum(axis=1) / np.maximum(lengths, 1e-12)
    shared = np.array([overlap(*read_pair(text).sides) for text in texts]).reshape(-1, MEASURES - 1)
    return np.column_stack([shared, cosines])
