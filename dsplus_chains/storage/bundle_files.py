"""The files of a bundle: which may be in its folder, and how each is verified."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dsplus_chains.schema import (
    BundleError,
    Stored,
    hash_of,
    hash_of_bytes,
    hash_of_file,
    read_json,
    read_regular,
    shown,
)
from dsplus_chains.scoring.saved_place import INNER
from dsplus_chains.scoring.state import ARRAYS, SETTINGS
from dsplus_chains.storage.files import check_place, earlier_folder, replacing_folder

FORMAT = 1
MANIFEST, SCORER, EXAMPLES, TUNED = "bundle.json", INNER, "examples", "tuned.json"
SCORER_FILES = (f"{SCORER}/{SETTINGS}", f"{SCORER}/{ARRAYS}")
ROWS, VECTORS = f"{EXAMPLES}/examples.json", f"{EXAMPLES}/vectors.safetensors"
OTHERS = frozenset({*SCORER_FILES, ROWS, VECTORS, TUNED})
"""All files that a bundle may have beside its manifest."""
CARD = "README.md"
HUB_FILES = (CARD, ".gitattributes")
"""What a repository of the hub holds beside a bundle. It is never read. A save leaves it where it is."""
LARGEST = 1 << 33
"""Most bytes of one file."""
PATIENCE = 1.0
"""Most seconds to wait for a manifest that a save is just replacing."""


class StoredFile(Stored):
    """A file, as the manifest lists it."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class StoredFiles(Stored):
    """All files, as the manifest lists them."""

    files: dict[str, StoredFile]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `bundle.json` says.

    Args:
        sha256: SHA-256 of the file itself.
        content: The content of the file.
        listed: SHA-256 of every other file, by its path in the folder.
    """

    sha256: str
    content: Mapping[str, Any]
    listed: Mapping[str, str]

    @property
    def scorer_sha256(self) -> str:
        """One hash for all files of the small model."""
        return hash_of(sorted(item for item in self.listed.items() if item[0].startswith(f"{SCORER}/")))


def write_manifest(folder: Path, content: Mapping[str, Any]) -> str:
    """Write `bundle.json`, which lists every file in the folder. Return its SHA-256.

    Raises:
        BundleError: The content is not plain data. Or a scorer of another kind has written files of its own.
    """
    if strange := [name for name in _names(folder) if name not in OTHERS]:
        msg = f"Got a scorer that writes {shown(strange[0])}, which no bundle reads back; save the scorer by itself"
        raise BundleError(msg)
    whole = {
        "format": FORMAT,
        **content,
        "files": {name: {"sha256": hash_of_file(folder / name)} for name in _names(folder)},
    }
    try:
        packed = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"Got settings or metadata that JSON cannot hold ({error}); give plain data"
        raise BundleError(msg) from error
    (folder / MANIFEST).write_bytes(packed.encode())
    return hash_of_bytes(packed.encode())


def read_manifest(folder: Path, *, expected_sha256: str | None = None) -> Manifest:
    """Read `bundle.json`.

    Raises:
        BundleError: It is missing, unreadable, of another format, or not the expected one.
    """
    where = f"the bundle {str(folder)!r}"
    packed = _read_packed(folder)
    found = hash_of_bytes(packed)
    if expected_sha256 is not None and found != expected_sha256.strip().lower():
        msg = f"Got {where} with a manifest of SHA-256 {found} but expected {expected_sha256}; do not use it"
        raise BundleError(msg)
    content = read_json(packed)
    if not isinstance(content, dict) or type(content.get("format")) is not int or content["format"] != FORMAT:
        number = shown(content.get("format") if isinstance(content, dict) else None)
        msg = f"Got {where} of format {number} but this version reads format {FORMAT}; fit anew"
        raise BundleError(msg)
    try:
        files = StoredFiles.model_validate(content).files
    except ValidationError as error:
        msg = f"Got {where}, whose {MANIFEST} does not list its files with their SHA-256; it is damaged"
        raise BundleError(msg) from error
    if strange := [name for name in files if name not in OTHERS]:
        msg = f"Got {where}, whose {MANIFEST} lists {shown(strange[0])}, which is no part of a bundle; do not use it"
        raise BundleError(msg)
    return Manifest(sha256=found, content=content, listed={name: entry.sha256 for name, entry in files.items()})


def read_bundle(folder: Path, *, expected_sha256: str | None = None) -> tuple[Manifest, dict[str, bytes]]:
    """Read the manifest and every file that it lists, each once. What is returned is what was verified.

    A save may replace the folder meanwhile. Then the new bundle is read.

    Raises:
        BundleError: A file is missing, damaged, not listed, or no regular file. Or the manifest is not as expected.
    """
    while True:
        manifest = read_manifest(folder, expected_sha256=expected_sha256)
        try:
            return manifest, _read_listed(folder, manifest)
        except BundleError:
            if hash_of_bytes(_read_packed(folder)) == manifest.sha256:
                raise  # nobody has replaced it


def _read_packed(folder: Path) -> bytes:
    """The content of the manifest. In the middle of a save it is missing for a moment, which is waited for.

    Raises:
        BundleError: It is missing, or no regular file.
    """
    earlier = earlier_folder(folder)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return read_regular(folder / MANIFEST, most=LARGEST)
        except OSError as error:
            if earlier.is_dir() and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            hint = f"; a save was cut short, the earlier bundle is {str(earlier)!r}" if earlier.is_dir() else ""
            what = f"which holds no readable {MANIFEST}; expected a folder that Bundle.save wrote"
            msg = f"Got {str(folder)!r}, {what}{hint}"
            raise BundleError(msg) from error


def _read_listed(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """The content of every file, compared with its hash.

    Raises:
        BundleError: A file is missing, damaged, not listed, or no regular file.
    """
    where = f"the bundle {str(folder)!r}"
    try:
        present = set(_names(folder))
    except OSError as error:
        msg = f"Got {where}, which cannot be read ({error})"
        raise BundleError(msg) from error
    if more := sorted(present - set(manifest.listed)):
        msg = f"Got {more[0]!r} in {where}, which its {MANIFEST} does not list; move it elsewhere"
        raise BundleError(msg)
    contents = {}
    for name, expected in manifest.listed.items():
        try:
            contents[name] = read_regular(folder / name, most=LARGEST)
        except OSError as error:
            msg = f"Got {where} without {name!r}, which its {MANIFEST} lists; copy it whole"
            raise BundleError(msg) from error
        if hash_of_bytes(contents[name]) != expected:
            msg = f"Got {name!r} in {where} with another SHA-256 than {MANIFEST} names: it is damaged"
            raise BundleError(msg)
    return contents


def check_target(path: Path) -> None:
    """Refuse a place that holds something other than a bundle, because saving would replace it.

    Raises:
        BundleError: There is a file, or a folder with something else in it.
        InvalidInputError: Nothing can be written there. See `check_place`.
    """
    if not path.exists():
        check_place(path, folder=True)
        return
    ours = path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))
    others = [] if not ours else [name for name in _names(path) if name not in OTHERS]
    if not ours or others:
        what = f"which holds {others[0]!r}" if others else "which is no bundle"
        msg = f"Got the place {str(path)!r}, {what}, for a bundle but expected a new folder or one with a bundle only"
        raise BundleError(msg)
    check_place(path, folder=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A folder to write a bundle into. It replaces `path` once the block has ended without an error.

    Raises:
        BundleError: `path` holds something other than a bundle.
    """
    target = path.resolve()
    check_target(target)
    with replacing_folder(target) as partial:
        yield partial
        for name in HUB_FILES:
            if (target / name).is_file():
                shutil.copyfile(target / name, partial / name)


def _names(folder: Path) -> list[str]:
    """The files of a bundle but for the manifest and the model card. Hidden files, as of a file browser, do not count.

    Raises:
        BundleError: Something is neither a file nor a folder, be it hidden.
    """
    names = []
    for place, folders, inside in os.walk(folder):
        for name in [*folders, *inside]:
            kind = (Path(place) / name).lstat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                msg = f"Got {name!r} in the bundle {str(folder)!r}, a link, a pipe or a device; do not use the bundle"
                raise BundleError(msg)
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(Path(place) / name).relative_to(folder).as_posix() for name in inside if not name.startswith(".")]
    return sorted(name for name in names if name not in {MANIFEST, CARD})
