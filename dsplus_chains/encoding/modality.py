"""What an encoder reads, texts or images, and a fixed input of each kind."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Modality: TypeAlias = Literal["text", "image"]
"""What a small model reads."""

PROBE = "The quick brown fox jumps over the lazy dog."
"""A text whose vector shows whether an encoder is the one that a model was fitted on."""


def modality_of(encoder: Any) -> Modality:
    """What an encoder reads. One that does not say it by a `modality` reads texts.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> modality_of(DeterministicFakeEmbedding(size=8))
        'text'
    """
    return "image" if getattr(encoder, "modality", "text") == "image" else "text"


def probe_of(modality: Modality) -> str:
    """A fixed input, whose vector shows whether an encoder is the one that a model was fitted on."""
    if modality == "text":
        return PROBE
    from dsplus_chains.encoding.image_reading import probe_image  # Pillow is optional

    return probe_image()
