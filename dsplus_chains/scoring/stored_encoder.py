"""What is kept of an encoder beside what was fitted on it. It is found again by its recipe, so its weights are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder, recipe_of
from dsplus_chains.encoding.loading import as_encoder, load_encoder
from dsplus_chains.encoding.modality import PROBE, Modality, modality_of, probe_of
from dsplus_chains.encoding.pair import PairEncoder
from dsplus_chains.schema import BundleError, Stored, TextPair, shown


class StoredEncoder(Stored):
    """An encoder, as a file holds it."""

    encoder: str
    encoder_recipe: dict[str, Any] | None
    pairs: bool = False  # missing where single texts are read
    modality: Modality = "text"  # missing where texts are read


def encoder_state(encoder: Encoder) -> dict[str, Any]:
    """What is kept of an encoder, as JSON values."""
    modality = modality_of(encoder)
    kind = {"pairs": True} if isinstance(encoder, PairEncoder) else {} if modality == "text" else {"modality": modality}
    return {"encoder": encoder.name, "encoder_recipe": recipe_of(encoder), **kind}


def probe_vector(encoder: Encoder) -> NDArray[np.float32]:
    """The vector of a fixed input, or of a pair of it, which tells one encoder from another."""
    fixed = TextPair(PROBE, PROBE) if isinstance(encoder, PairEncoder) else probe_of(modality_of(encoder))
    return np.ascontiguousarray(encoder.encode([fixed])[0])


def check_probe(encoder: Encoder, expected: NDArray[Any], *, told: StoredEncoder) -> None:
    """Refuse an encoder that is not the one of the fit.

    Args:
        encoder: The encoder that was found.
        expected: What `probe_vector` gave at fitting.
        told: What is kept of the encoder.

    Raises:
        BundleError: It encodes otherwise.
    """
    probe = probe_vector(encoder)
    near = 1e-2 if _is_rounded(told.encoder_recipe) else 1e-3
    if probe.shape != expected.shape or not np.allclose(probe, expected, atol=near):
        msg = (
            f"Got the encoder {shown(encoder.name)}, which encodes otherwise than {shown(told.encoder)} "
            "did at the fit. Load with that encoder, or fit anew"
        )
        raise BundleError(msg)


def _is_rounded(recipe: Any) -> bool:
    """Whether an encoder, or a part of it, computes in bfloat16. Then processors differ a little."""
    if isinstance(recipe, Mapping):
        return recipe.get("dtype") == "bfloat16" or any(map(_is_rounded, recipe.values()))
    return isinstance(recipe, (list, tuple)) and any(map(_is_rounded, recipe))


def encoder_finder(
    told: StoredEncoder,
    *,
    place: Path,
    encoder: str | Encoder | Embeddings | None,
    device: str | None,
    allow_download: bool,
) -> Callable[[], Encoder]:
    """A function that finds the encoder again. It looks for it once, on its first call.

    Args:
        told: What is kept of the encoder.
        place: The folder of what was fitted. No encoder may be in it.
        encoder: The encoder or its new place. None: where it was at fitting.
        device: Device of the encoder. None takes the best one available.
        allow_download: Whether an encoder that the folder names may be fetched from the hub.

    Returns:
        The function. It raises a `BundleError` if the encoder has no name, or is not on this machine.
    """

    @cache
    def find() -> Encoder:
        found = find_encoder_of_texts()
        return PairEncoder(encoder=found) if told.pairs and not isinstance(found, PairEncoder) else found

    def find_encoder_of_texts() -> Encoder:
        if encoder is not None:
            return as_encoder(encoder, device=device, modality=told.modality)
        if told.encoder_recipe is not None:
            return load_encoder(told.encoder_recipe, device=device, allow_download=allow_download, outside=place)
        msg = (
            f"Got {str(place)!r}, fitted with an encoder of your own, {shown(told.encoder)}, which has no name to load "
            "it by; give it: load(path, encoder=...)"
        )
        raise BundleError(msg)

    return find
