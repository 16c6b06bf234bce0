"""A scorer on disk, with JSON for what people read and safetensors for arrays, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from safetensors.numpy import load, save

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
from dsplus_chains.scoring.stored_encoder import StoredEncoder

FORMAT = 2
LABEL = "label"
"""What a scorer predicts whose file does not say it."""
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


class StoredClassifier(StoredEncoder):
    """A classifier, as a file holds it."""

    members: list[StoredMember] = Field(min_length=1, max_length=100)
    calibration: dict[str, Any] | None = None
    early_exit: StoredExit | None = None


class StoredRows(Stored):
    """What is kept of the training rows, as a file holds it."""

    n: int = Field(ge=1)
    conflicting: int = Field(ge=0)


class StoredState(Stored):
    """What the file of every scorer holds."""

    predicts: str = LABEL  # missing where it is a label
    input_key: Key | Annotated[list[Key], Field(min_length=2, max_length=2)]
    training_rows: StoredRows | None = None  # missing in a folder from before texts were remembered


class StoredScorer(StoredState):
    """A scorer of one label, as a file holds it."""

    labels: Labels
    track_record: dict[str, Any] | None = None  # missing in a folder from before there were track records
    classifier: StoredClassifier


class StoredTags(StoredState):
    """A scorer of tags, as a file holds it. Its heads share an encoder."""

    tags: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=10_000)
    heads: list[StoredClassifier] = Field(min_length=1)
    joint: dict[str, Any] | None = None
    same: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_head_a_tag(self) -> Self:
        if not len(set(self.tags)) == len(self.tags) == len(self.heads):
            msg = f"got {len(self.heads)} heads for {len(set(self.tags))} tags but expected one for each"
            raise ValueError(msg)
        return self


class StoredNumber(StoredState, StoredEncoder):
    """A scorer of a number, as a file holds it."""

    tolerance: float = Field(ge=0)
    whole: bool
    low: float
    high: float
    curve: dict[str, Any]


State = TypeVar("State", bound=StoredState)


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


def share_equal(arrays: dict[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The different ones among arrays, and for each further one the name of its equal.

    Example:
        >>> kept, same = share_equal({"a": np.zeros(2), "b": np.zeros(2), "c": np.ones(2)})
        >>> list(kept), same
        (['a', 'c'], {'b': 'a'})
    """
    first: dict[str, str] = {}
    names = {
        name: first.setdefault(f"{array.dtype} {array.shape} {hash_of_bytes(array.tobytes())}", name)
        for name, array in arrays.items()
    }
    kept = {name: arrays[name] for name, equal in names.items() if name == equal}
    return kept, {name: equal for name, equal in names.items() if name != equal}


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


def unpack_state(
    settings: bytes, arrays: bytes, *, place: Path, form: type[State], predicts: str
) -> tuple[State, dict[str, NDArray[Any]]]:
    """The settings and arrays of a scorer.

    Args:
        settings: The content of the first file.
        arrays: The content of the second file.
        place: The folder that they come from, for errors.
        form: What the settings should hold.
        predicts: What the scorer should predict.

    Raises:
        BundleError: Something is missing, damaged, or of another format. Or the scorer predicts something else.
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
    if (found := told.get("predicts", LABEL)) != predicts:
        msg = (
            f"Got a scorer in {str(place)!r} that predicts {shown(found)} but expected one that predicts {predicts!r}; "
            "load it with the class that saved it"
        )
        raise BundleError(msg)
    try:
        return form.model_validate(told), load(arrays)
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
