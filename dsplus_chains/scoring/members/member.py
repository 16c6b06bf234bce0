"""The interface of an ensemble's member, and the batch of texts that all members see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.pair import PairEncoder
from dsplus_chains.schema import TextPair, TrainingDataError, as_pair
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

if TYPE_CHECKING:
    from dsplus_chains.scoring.members.rationales import Rationales

Floats = NDArray[np.float32] | NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Found = TypeVar("Found")


class TextBatch:
    """Texts with their vectors and findings.

    Both are made only once, however many members ask for them.
    """

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        self.texts = texts
        self.encoder = encoder
        self.rationales: Rationales | None = None
        """What the large model said of the texts, where a network is to learn that too."""
        self._found: dict[Any, Any] = {}
        self._encoded: dict[int, NDArray[np.float32]] = {}
        self._encode = lambda: encoder.encode(texts)

    @classmethod
    def reading(cls, texts: Sequence[str], encoder: Encoder) -> Self:
        """A batch of examples. Pairs of texts are encoded as pairs.

        Args:
            texts: The texts, or pairs of them. Strings in which pairs are written count as pairs.
            encoder: Encoder of texts, or of pairs.

        Raises:
            TrainingDataError: There are single texts beside pairs, or for an encoder of pairs.
        """
        pairs = [pair for pair in map(as_pair, texts) if pair is not None]
        if pairs and len(pairs) == len(texts):
            return cls(pairs, encoder if isinstance(encoder, PairEncoder) else PairEncoder(encoder=encoder))
        if isinstance(encoder, PairEncoder) or any(isinstance(text, TextPair) for text in texts):
            msg = (
                f"Got {len(texts) - len(pairs)} single texts among {len(texts)} rows but expected pairs of texts alone"
            )
            raise TrainingDataError(msg)
        return cls(texts, encoder)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors of the texts, of shape [n texts, dimensions]."""
        return self.once("vectors", self._encode)

    @vectors.setter
    def vectors(self, known: NDArray[np.float32]) -> None:
        self._found["vectors"] = known

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some texts. The others are not encoded for that."""
        if "vectors" in self._found:
            return self.vectors[rows]
        missing = [row for row in rows.tolist() if row not in self._encoded]
        if missing:
            self._encoded.update(zip(missing, self.encoder.encode([self.texts[row] for row in missing]), strict=True))
        return np.stack([self._encoded[row] for row in rows.tolist()])

    def once(self, who: object, find: Callable[[], Found]) -> Found:
        """A finding about this batch, computed on first use."""
        if who not in self._found:
            self._found[who] = find()
        found: Found = self._found[who]
        return found

    def part(self, rows: NDArray[np.int64]) -> TextBatch:
        """Some rows of the batch. Their vectors are made on first use, and kept for other parts."""
        part = TextBatch([self.texts[row] for row in rows], self.encoder)
        part._encode = lambda: self.vectors_of(rows)
        return part


@runtime_checkable
class Member(Protocol):
    """One model of an ensemble, with the class scores of a batch and a state to keep."""

    kind: ClassVar[str]

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state.

        Raises:
            BundleError: An array is missing, or another one.
            pydantic.ValidationError: A setting is missing, or out of range.
        """


def log_softmax(scores: Floats) -> NDArray[np.float64]:
    """Scores of shape [..., classes] as log-probabilities, in double precision."""
    result: NDArray[np.float64] = special.log_softmax(np.asarray(scores, dtype=np.float64), axis=-1)
    return result
