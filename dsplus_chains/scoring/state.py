"""A scorer on disk, with JSON for what people read and safetensors for arrays, never pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder, load_encoder
from dsplus_chains.schema import BundleError, hash_of_bytes

FORMAT = 2
SETTINGS, ARRAYS = "scorer.json", "scorer.safetensors"


def write_state(folder: Path, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write settings and arrays into a folder. The folder is made if needed.

    The settings come last and hold the hash of the arrays. So an interrupted write is noticed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    _replace(folder / ARRAYS, packed)
    written = {"format": FORMAT, "sha256": hash_of_bytes(packed), **settings}
    _replace(folder / SETTINGS, json.dumps(written, indent=2, ensure_ascii=False).encode())


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write_state` wrote.

    Raises:
        BundleError: Something is missing, damaged, or of another format.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
        packed = (folder / ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        msg = f"Got {str(folder)!r}, which holds no readable scorer ({SETTINGS} and {ARRAYS}, as save() writes them)"
        raise BundleError(msg) from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        found = settings.get("format") if isinstance(settings, dict) else None
        msg = f"Got a scorer of format {found!r} in {str(folder)!r} but this version reads format {FORMAT}; fit anew"
        raise BundleError(msg)
    if hash_of_bytes(packed) != settings.get("sha256"):
        msg = f"Got {ARRAYS} in {str(folder)!r} with another SHA-256 than {SETTINGS} names: the folder is damaged"
        raise BundleError(msg)
    return settings, load(packed)


def saved_encoder(
    settings: dict[str, Any], *, encoder: str | Encoder | Embeddings | None, device: str | None
) -> Encoder:
    """The encoder that a classifier was fitted with.

    Args:
        settings: The classifier's settings.
        encoder: The encoder or its new place. None makes it anew.
        device: Its device.

    Raises:
        BundleError: Only its maker could make it.
    """
    if encoder is not None:
        return as_encoder(encoder, device=device)
    if settings["encoder_recipe"] is not None:
        return load_encoder(settings["encoder_recipe"], device=device)
    msg = (
        f"Got a scorer fitted with an encoder of your own, {settings['encoder']!r}, which has no name to load it by; "
        "give it: SmallModelScorer.load(path, encoder=...)"
    )
    raise BundleError(msg)


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)  # noqa: PTH105  it replaces on every platform, Path.rename does not
