"""Recipes of encoders, as a saved scorer holds them. They are checked, because a scorer may come from others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from dsplus_chains.encoding.dtype import Dtype
from dsplus_chains.schema import BundleError, Stored, first_fault, shown

MOST_PARTS = 16
"""Most encoders of a union."""
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


class SentenceRecipe(Stored, extra="forbid"):
    """How a `SentenceEncoder` is loaded."""

    name: str = Field(min_length=1, max_length=4096)
    dtype: Dtype = "float32"


class ImageRecipe(Stored, extra="forbid"):
    """How an `ImageEncoder` is loaded."""

    name: str = Field(min_length=1, max_length=4096)


class QuantizedRecipe(Stored, extra="forbid"):
    """How a `QuantizedEncoder` is loaded."""

    name: str = Field(min_length=1, max_length=4096)


class LanguageModelRecipe(Stored, extra="forbid"):
    """How a `LanguageModelEncoder` is loaded."""

    name: str = Field(min_length=1, max_length=4096)
    prompt: str = Field(max_length=1_000_000)
    dtype: Dtype = "float32"
    batch_size: int = Field(default=8, ge=1, le=1_000_000)
    max_tokens: int = Field(default=1024, ge=1, le=1_000_000_000)


@dataclass(frozen=True, kw_only=True)
class UnionRecipe:
    """How the parts of an `EncoderUnion` are loaded."""

    encoders: tuple[AnyRecipe, ...]


Named = TypeVar("Named", SentenceRecipe, QuantizedRecipe, ImageRecipe, LanguageModelRecipe)
AnyRecipe: TypeAlias = SentenceRecipe | QuantizedRecipe | ImageRecipe | LanguageModelRecipe | UnionRecipe


def read_recipe(recipe: Mapping[str, Any], *, outside: Path | None = None, levels: int = 3) -> AnyRecipe:
    """A recipe in a checked form.

    Args:
        recipe: The recipe, as `recipe_of` made it.
        outside: A folder in which no model may be.
        levels: Most unions inside one another.

    Raises:
        BundleError: The recipe was written by another version, or by hand.
    """
    own = dict(recipe)
    kind = own.pop("kind", None)
    try:
        match kind:
            case "sentence":
                return _named(SentenceRecipe.model_validate(own), outside)
            case "image":
                return _named(ImageRecipe.model_validate(own), outside)
            case "quantized":
                return _named(QuantizedRecipe.model_validate(own), outside)
            case "language model":
                return _named(LanguageModelRecipe.model_validate(own), outside)
            case "union":
                return _union(own["encoders"], outside, levels)
    except (KeyError, ValidationError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else repr(error)
        msg = f"Got the encoder {shown(recipe, 200)}, which cannot be read ({reason}); fit anew, or load with encoder="
        raise BundleError(msg) from error
    msg = f"Got an encoder of kind {shown(kind)}, which this version does not know; load with encoder="
    raise BundleError(msg)


def _union(parts: Any, outside: Path | None, levels: int) -> UnionRecipe:
    if not levels or not isinstance(parts, list) or not 1 <= len(parts) <= MOST_PARTS:
        msg = f"Got the parts {shown(parts)} of an encoder but expected a list of 1 to {MOST_PARTS}; load with encoder="
        raise BundleError(msg)
    if strange := [part for part in parts if not isinstance(part, dict)]:
        msg = f"Got {shown(strange[0])} as a part of an encoder but expected a recipe; load with encoder="
        raise BundleError(msg)
    return UnionRecipe(encoders=tuple(read_recipe(part, outside=outside, levels=levels - 1) for part in parts))


def _named(recipe: Named, outside: Path | None) -> Named:
    """The recipe, if its name is that of a folder elsewhere, or a name on the hub."""
    name = recipe.name
    try:
        folder = Path(name).resolve() if Path(name).is_dir() else None
    except (OSError, ValueError, RuntimeError):  # no path at all
        folder = None
    if folder is not None and outside is not None and folder.is_relative_to(outside.resolve()):
        msg = f"Got the encoder {shown(name)} inside the bundle itself, which holds none; do not use it"
        raise BundleError(msg)
    if folder is None and (len(name) > 200 or ".." in name or not _HUB_NAME.fullmatch(name)):
        what = "neither a folder that is here nor a name on the hub"
        msg = f"Got the encoder {shown(name)}, which is {what}; load with encoder="
        raise BundleError(msg)
    return recipe
