"""A scorer on disk, with JSON for what people read and safetensors for arrays, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors.numpy import load, save

from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import (
    BundleError,
    Labels,
    Stored,
    describe_error,
    first_fault,
    hash_of_bytes,
    read_json,
    read_regular,
    shown,
)
from dsplus_chains.scoring.early_exit import StoredExit
from dsplus_chains.scoring.record_start import Key

FORMAT = 2
SETTINGS, ARRAYS = "scorer.json", "scorer.safetensors"
LARGEST = {SETTINGS: 1 << 29, ARRAYS: 1 << 33}
"""Most bytes of each file. A vocabulary of a million terms takes a hundredth of the first."""


class StoredReport(Stored):
    """The worth of a member, as a file holds it."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    log_loss: float | None = Field(default=None, ge=0)


class StoredMember(Stored):
    """A member, as a file holds it. Its own class reads its settings."""

    kind: str
    settings: dict[str, Any]
    report: StoredReport | None = None


class StoredClassifier(Stored):
    """A classifier, as a file holds it."""

    encoder: str
    encoder_recipe: dict[str, Any] | None
    pairs: bool = False  # missing where single texts are read
    modality: Modality = "text"  # missing where texts are read
    members: list[StoredMember] = Field(min_length=1, max_length=100)
    calibration: dict[str, Any] | None = None
    early_exit: StoredExit | None = None


class StoredRows(Stored):
    """What is kept of the training rows, as a file holds it."""

    n: int = Field(ge=1)
    conflicting: int = Field(ge=0)


class StoredScorer(Stored):
    """A scorer, as a file holds it."""

    labels: Labels
    input_key: Key | Annotated[list[Key], Field(min_length=2, max_length=2)]
    track_record: dict[str, Any] | None = None  # missing in a folder from before there were track records
    training_rows: StoredRows | None = None  # missing in a folder from before texts were remembered
    classifier: StoredClassifier


def write_state(folder: Path, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write settings and arrays into a folder. The folder is made if needed.

    The settings come last and hold the hash of the arrays. So an interrupted write is noticed.
    """
    written, packed = pack_state(settings, arrays)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / ARRAYS, packed)
    _replace(folder / SETTINGS, written)


def pack_state(settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> tuple[bytes, bytes]:
    """The content of the two files of a scorer."""
    packed = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    written = {"format": FORMAT, "sha256": hash_of_bytes(packed), **settings}
    return json.dumps(written, indent=2, ensure_ascii=False).encode(), packed


def read_state(folder: Path) -> tuple[bytes, bytes]:
    """The content of the two files that `write_state` wrote.

    Raises:
        BundleError: One is missing, no regular file, or too large.
    """
    try:
        settings, arrays = (read_regular(folder / name, most=most) for name, most in LARGEST.items())
    except OSError as error:
        msg = f"Got {str(folder)!r}, which holds no readable scorer ({SETTINGS} and {ARRAYS}, as save() writes them)"
        raise BundleError(msg) from error
    return settings, arrays


def unpack_state(settings: bytes, arrays: bytes, *, place: Path) -> tuple[StoredScorer, dict[str, NDArray[Any]]]:
    """The settings and arrays of a scorer.

    Args:
        settings: The content of the first file.
        arrays: The content of the second file.
        place: The folder that they come from, for errors.

    Raises:
        BundleError: Something is missing, damaged, or of another format.
    """
    try:
        told = read_json(settings)
    except BundleError as error:
        msg = f"Got {str(place)!r}, which holds no readable scorer: {SETTINGS} is no JSON"
        raise BundleError(msg) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        found = shown(told.get("format") if isinstance(told, dict) else None)
        msg = f"Got a scorer of format {found} in {str(place)!r} but this version reads format {FORMAT}; fit anew"
        raise BundleError(msg)
    if hash_of_bytes(arrays) != told.get("sha256"):
        msg = f"Got {ARRAYS} in {str(place)!r} with another SHA-256 than {SETTINGS} names: the folder is damaged"
        raise BundleError(msg)
    try:
        return StoredScorer.model_validate(told), load(arrays)
    except ValidationError as error:
        msg = f"Got {SETTINGS} in {str(place)!r}, which cannot be read ({first_fault(error)}); fit anew"
        raise BundleError(msg) from error
    except Exception as error:  # safetensors has errors of its own, and numpy knows fewer types
        msg = f"Got {ARRAYS} in {str(place)!r}, which cannot be read ({describe_error(error)}); fit anew"
        raise BundleError(msg) from error


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
