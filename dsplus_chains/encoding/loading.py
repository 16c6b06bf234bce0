"""Makes encoders, from a user's argument or from a saved scorer's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from dsplus_chains.encoding.embeddings import EmbeddingsEncoder
from dsplus_chains.encoding.encoder import Encoder, Recipe
from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.encoding.recipes import AnyRecipe, ImageRecipe, SentenceRecipe, UnionRecipe, read_recipe
from dsplus_chains.schema import BundleError, InvalidInputError, describe_error, shorten, shown, what_came


def as_encoder(
    encoder: str | Encoder | Embeddings, *, device: str | None = None, modality: Modality = "text"
) -> Encoder:
    """An encoder from any accepted form.

    Args:
        encoder: A name or a folder that sentence-transformers loads, or "auto" for the default encoder. It may also be
            a LangChain `Embeddings`. An encoder stays as it is.
        device: Device of a model that is loaded. None takes the best one available.
        modality: What it is to read.

    Raises:
        InvalidInputError: It is none of these, or reads something else.
    """
    if isinstance(encoder, str):
        kind: Any = _image_encoder() if modality == "image" else _sentence_encoder()
        loaded: Encoder = kind.from_pretrained(encoder, device=device)
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
    kind: Any
    if isinstance(recipe, SentenceRecipe):
        kind = _sentence_encoder()
    elif isinstance(recipe, ImageRecipe):
        kind = _image_encoder()
    else:
        from dsplus_chains.encoding.language_model import LanguageModelEncoder

        kind = LanguageModelEncoder
    try:
        made: Encoder = kind.from_pretrained(**dict(recipe), **how)
    except Exception as error:  # whatever is in the folder, or missing there
        advice = ", or let it be fetched with allow_download=True" if how["local_files_only"] else ""
        reason = shorten(describe_error(error), 300)
        msg = f"Got the encoder {shown(recipe.name)}, which cannot be loaded ({reason}); load with encoder={advice}"
        raise BundleError(msg) from error
    return made


def _sentence_encoder() -> type[Encoder]:
    from dsplus_chains.encoding.sentence import SentenceEncoder  # heavy, so only when weights are loaded

    return SentenceEncoder


def _image_encoder() -> type[Encoder]:
    from dsplus_chains.encoding.image import ImageEncoder

    return ImageEncoder
