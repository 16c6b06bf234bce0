"""Makes encoders, from a user's argument or from a saved scorer's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from langchain_core.embeddings import Embeddings

from dsplus_chains.encoding.embeddings import EmbeddingsEncoder
from dsplus_chains.encoding.encoder import Encoder, Recipe
from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.encoding.recipes import (
    AnyRecipe,
    ImageRecipe,
    LanguageModelRecipe,
    QuantizedRecipe,
    SentenceRecipe,
    UnionRecipe,
    read_recipe,
)
from dsplus_chains.schema import BundleError, InvalidInputError, check_choice, describe_error, shorten, shown, what_came

FAST = "fast"
"""The name of the default encoder in 8-bit integers."""


def as_encoder(
    encoder: str | Encoder | Embeddings,
    *,
    device: str | None = None,
    modality: Modality = "text",
    fast: bool = False,
) -> Encoder:
    """An encoder from any accepted form.

    Args:
        encoder: A name or a folder that sentence-transformers loads, or "auto" for the default encoder. "fast" is the
            default encoder in 8-bit integers. It may also be a LangChain `Embeddings`. An encoder stays as it is.
        device: Device of a model that is loaded. None takes the best one available. One in 8-bit integers is always on
            the processor.
        modality: What it is to read.
        fast: Whether a model that is loaded by name is brought to 8-bit integers.

    Raises:
        InvalidInputError: It is none of these, or reads something else. Or it is to be fast, and reads images.
        ImportError: The model is to have 8-bit integers, and a package of the extra `fast` is missing.
    """
    check_choice("modality", modality, get_args(Modality))
    fast = fast or (isinstance(encoder, str) and encoder == FAST)
    if modality == "image" and fast:
        msg = 'Got modality="image" and a fast model but expected one or the other; only models of texts are made fast'
        raise InvalidInputError(msg)
    if isinstance(encoder, str) and fast:
        from dsplus_chains.encoding.quantized import QuantizedEncoder

        return QuantizedEncoder.from_pretrained("auto" if encoder == FAST else encoder)
    if isinstance(encoder, str):
        named = ImageRecipe(name=encoder) if modality == "image" else SentenceRecipe(name=encoder)
        loaded: Encoder = _kind(named).from_pretrained(encoder, device=device)
        return loaded
    if modality_of(encoder) != modality:
        advice = "give an ImageEncoder" if modality == "image" else 'say modality="image" where images are read'
        msg = (
            f"Got encoder={what_came(encoder)}, which reads {modality_of(encoder)}s, but expected one that reads "
            f"{modality}s; {advice}. An encoder of your own says what it reads by its attribute `modality`"
        )
        raise InvalidInputError(msg)
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, Embeddings):
        return EmbeddingsEncoder(embeddings=encoder)
    msg = (
        f"Got encoder={what_came(encoder)} but expected a name, a path, a LangChain Embeddings, "
        "or an Encoder: an object with .name and .encode(texts) -> array of shape [n texts, dimensions]"
    )
    raise InvalidInputError(msg)


def load_encoder(
    recipe: Recipe, *, device: str | None = None, allow_download: bool = False, outside: Path | None = None
) -> Encoder:
    """Make an encoder again. A recipe may come from others, so it is checked, and no code of a model is ever run.

    Args:
        recipe: The recipe, from `recipe_of`.
        device: Device of the encoder. None takes the best one available.
        allow_download: Whether a model may be fetched from the hub. Without it, models are taken from this machine.
        outside: A folder in which no model may be. A bundle must not bring its own.

    Raises:
        BundleError: The recipe was written by another version, or by hand. Or the model is not on this machine, cannot
            be loaded, or cannot be fetched.
    """
    return _load(read_recipe(recipe, outside=outside), device=device, local_files_only=not allow_download)


def _load(recipe: AnyRecipe, **how: Any) -> Encoder:
    if isinstance(recipe, UnionRecipe):
        from dsplus_chains.encoding.union import EncoderUnion

        return EncoderUnion(encoders=[_load(part, **how) for part in recipe.encoders])
    try:
        made: Encoder = _kind(recipe).from_pretrained(**dict(recipe), **how)
    except Exception as error:  # whatever is in the folder, or missing there
        advice = ", or let it be fetched with allow_download=True" if how["local_files_only"] else ""
        reason = shorten(describe_error(error), 300)
        msg = f"Got the encoder {shown(recipe.name)}, which cannot be loaded ({reason}); load with encoder={advice}"
        raise BundleError(msg) from error
    return made


def _kind(recipe: AnyRecipe) -> Any:
    """The class of an encoder. Imports are heavy, so only what is loaded is imported."""
    match recipe:
        case ImageRecipe():
            from dsplus_chains.encoding.image import ImageEncoder

            return ImageEncoder
        case QuantizedRecipe():
            from dsplus_chains.encoding.quantized import QuantizedEncoder

            return QuantizedEncoder
        case LanguageModelRecipe():
            from dsplus_chains.encoding.language_model import LanguageModelEncoder

            return LanguageModelEncoder
        case _:
            from dsplus_chains.encoding.sentence import SentenceEncoder

            return SentenceEncoder
