"""Makes encoders, from a user's argument or from a saved scorer's recipe."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from dsplus_chains.encoding.embeddings import EmbeddingsEncoder
from dsplus_chains.encoding.encoder import Encoder, Recipe
from dsplus_chains.schema import (
    BundleError,
    InvalidInputError,
    shown,
    what_came,
)


def as_encoder(encoder: str | Encoder | Embeddings, *, device: str | None = None) -> Encoder:
    """An encoder from any accepted form.

    Args:
        encoder: A name or a folder that sentence-transformers loads, or "auto" for the default encoder. It may also be
            a LangChain `Embeddings`. An encoder stays as it is.
        device: Device of a model that is loaded. None takes the best one available.

    Raises:
        InvalidInputError: It is none of these.
    """
    if isinstance(encoder, str):
        from dsplus_chains.encoding.sentence import SentenceEncoder  # heavy, so only when weights are loaded

        return SentenceEncoder.from_pretrained(encoder, device=device)
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, Embeddings):
        return EmbeddingsEncoder(embeddings=encoder)
    msg = (
        f"Got encoder={what_came(encoder)} but expected a name, a path, a LangChain Embeddings, "
        "or an Encoder: an object with .name and .encode(texts) -> array of shape [n texts, dimensions]"
    )
    raise InvalidInputError(msg)


def load_encoder(recipe: Recipe, *, device: str | None = None) -> Encoder:
    """Make an encoder again.

    Args:
        recipe: The recipe, from `recipe_of`.
        device: Device of the encoder. None takes the best one available.

    Raises:
        BundleError: The recipe was written by another version, or by hand.
    """
    own = dict(recipe)
    try:
        match own.pop("kind", None):  # imports are heavy, so only when weights are loaded
            case "sentence":
                from dsplus_chains.encoding.sentence import SentenceEncoder

                return SentenceEncoder.from_pretrained(**own, device=device)
            case "language model":
                from dsplus_chains.encoding.language_model import LanguageModelEncoder

                return LanguageModelEncoder.from_pretrained(**own, device=device)
            case "union":
                from dsplus_chains.encoding.union import EncoderUnion

                return EncoderUnion(encoders=[load_encoder(part, device=device) for part in own["encoders"]])
    except (KeyError, TypeError) as error:
        msg = f"Got the encoder {shown(recipe, 200)}, which cannot be read ({error!r}); fit anew, or load with encoder="
        raise BundleError(msg) from error
    msg = f"Got an encoder of kind {recipe.get('kind')!r}, which this version does not know; load with encoder="
    raise BundleError(msg)
