"""`EncoderUnion` joins several encoders that read the same text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder, Recipe, recipe_of
from dsplus_chains.encoding.modality import Modality, modality_of, probe_of
from dsplus_chains.schema import InvalidInputError, brief_repr


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderUnion:
    """Several encoders as one. Their vectors stand side by side, and each gets a linear head of its own.

    Two models trained on different text are wrong about different inputs. So together they are right more often than
    the better one. scikit-learn calls this a feature union.

    Args:
        encoders: At least one encoder. Whoever loads the scorer again must keep their order.

    Raises:
        InvalidInputError: There is none, or some read texts and some images.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from dsplus_chains.encoding.embeddings import EmbeddingsEncoder
        >>> one, two = (EmbeddingsEncoder(embeddings=DeterministicFakeEmbedding(size=size)) for size in (8, 4))
        >>> both = EncoderUnion(encoders=[one, two])
        >>> both.encode(["great phone"]).shape, both.views
        ((1, 12), (8, 4))
    """

    encoders: Sequence[Encoder]

    def __post_init__(self) -> None:
        if not self.encoders:
            msg = "Got no encoders but expected at least one"
            raise InvalidInputError(msg)
        if len({modality_of(encoder) for encoder in self.encoders}) > 1:
            msg = f"Got {self.name}, some of which read texts and some images, but expected encoders of one of them"
            raise InvalidInputError(msg)

    @property
    def name(self) -> str:
        """The names of all encoders."""
        return " + ".join(encoder.name for encoder in self.encoders)

    @property
    def modality(self) -> Modality:
        """What all of them read."""
        return modality_of(self.encoders[0])

    @property
    def recipe(self) -> Recipe | None:
        """The recipe to make it again, if every encoder has one; see `load_encoder`."""
        parts = [recipe_of(encoder) for encoder in self.encoders]
        return None if None in parts else {"kind": "union", "encoders": parts}

    @cached_property
    def views(self) -> tuple[int, ...]:
        """The widths of the vectors that stand side by side."""
        return tuple(width for encoder in self.encoders for width in _views(encoder))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, the widths of all encoders together]."""
        return np.hstack([encoder.encode(texts) for encoder in self.encoders])


def _views(encoder: Encoder) -> tuple[int, ...]:
    known: tuple[int, ...] = getattr(encoder, "views", ())
    return known or (encoder.encode([probe_of(modality_of(encoder))]).shape[1],)
