"""`StateFiles`: what was fitted as two files, JSON for what people read and safetensors for arrays, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load, save

from dsplus_chains.schema import (
    BundleError,
    Stored,
    describe_error,
    first_fault,
    hash_of_bytes,
    read_json,
    read_regular,
    shown,
)

S = TypeVar("S", bound=Stored)


@dataclass(frozen=True, kw_only=True)
class StateFiles(Generic[S]):
    """The two files of one kind of thing in its folder.

    The file of the settings holds the hash of the arrays. So its own hash is one of the whole.

    Args:
        what: The kind, which is also the name of both files.
        format: Number of the format. A file of another one is refused.
        stored: The settings, as the file holds them.
        predicts: What the thing predicts, where there are several kinds. The file names it under this key, or leaves it
            out if it is `unsaid`.
        unsaid: What a thing predicts whose file does not say it.
    """

    what: str
    format: int
    stored: type[S]
    predicts: str | None = None
    unsaid: str | None = None

    @property
    def settings(self) -> str:
        """The name of the file of the settings."""
        return f"{self.what}.json"

    @property
    def arrays(self) -> str:
        """The name of the file of the arrays."""
        return f"{self.what}.safetensors"

    def write(self, folder: Path, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
        """Write settings and arrays into a folder. The folder is made if needed.

        The settings come last and hold the hash of the arrays. So an interrupted write is noticed.

        Returns:
            The SHA-256 of the settings.
        """
        written, packed = self.pack(settings, arrays)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / self.arrays, packed)
        _replace(folder / self.settings, written)
        return hash_of_bytes(written)

    def pack(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> tuple[bytes, bytes]:
        """The content of the two files."""
        packed = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        written = {"format": self.format, "sha256": hash_of_bytes(packed), **settings}
        return json.dumps(written, indent=2, ensure_ascii=False).encode(), packed

    def read(self, folder: Path) -> tuple[bytes, bytes]:
        """The content of the two files that `write` wrote.

        Raises:
            BundleError: One is missing, no regular file, or too large.
        """
        most = {self.settings: 1 << 29, self.arrays: 1 << 33}  # a vocabulary of a million terms: a hundredth of this
        try:
            settings, arrays = (read_regular(folder / name, most=size) for name, size in most.items())
        except OSError as error:
            named = f"({self.settings} and {self.arrays}, as save() writes them)"
            msg = f"Got {str(folder)!r}, which holds no readable {self.what} {named}"
            raise BundleError(msg) from error
        return settings, arrays

    def unpack(self, settings: bytes, arrays: bytes, *, place: Path) -> tuple[S, dict[str, NDArray[Any]]]:
        """The settings and arrays in the content of the two files.

        Args:
            settings: The content of the first file.
            arrays: The content of the second file.
            place: The folder that they come from, for errors.

        Raises:
            BundleError: Something is missing, damaged, or of another format. Or the thing predicts something else.
        """
        try:
            told = read_json(settings)
        except BundleError as error:
            msg = f"Got {str(place)!r}, which holds no readable {self.what}: {self.settings} is no JSON"
            raise BundleError(msg) from error
        if not isinstance(told, dict) or told.get("format") != self.format:
            found = shown(told.get("format") if isinstance(told, dict) else None)
            reads = f"this version reads format {self.format}; fit anew"
            msg = f"Got a {self.what} of format {found} in {str(place)!r} but {reads}"
            raise BundleError(msg)
        if hash_of_bytes(arrays) != told.get("sha256"):
            names = f"{self.settings} names: the folder is damaged"
            msg = f"Got {self.arrays} in {str(place)!r} with another SHA-256 than {names}"
            raise BundleError(msg)
        if (predicts := told.get("predicts", self.unsaid)) != self.predicts:
            msg = (
                f"Got a {self.what} in {str(place)!r} that predicts {shown(predicts)} but expected one that predicts "
                f"{self.predicts!r}; load it with the class that saved it"
            )
            raise BundleError(msg)
        try:
            return self.stored.model_validate(told), load(arrays)
        except ValidationError as error:
            msg = f"Got {self.settings} in {str(place)!r}, which cannot be read ({first_fault(error)}); fit anew"
            raise BundleError(msg) from error
        except Exception as error:  # safetensors has errors of its own, and numpy knows fewer types
            msg = f"Got {self.arrays} in {str(place)!r}, which cannot be read ({describe_error(error)}); fit anew"
            raise BundleError(msg) from error


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
