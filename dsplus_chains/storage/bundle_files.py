"""The files of a bundle: which may be in its folder, and how each is verified."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsplus_chains.schema import BundleError, hash_of, hash_of_bytes, hash_of_file
from dsplus_chains.storage.files import check_place, earlier_folder, replacing_folder

FORMAT = 1
MANIFEST, SCORER, EXAMPLES, TUNED = "bundle.json", "scorer", "examples", "tuned.json"


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
        BundleError: The content is not plain data.
    """
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
    try:
        packed = (folder / MANIFEST).read_bytes()
    except OSError as error:
        earlier = earlier_folder(folder)
        hint = f"; a save was cut short, the earlier bundle is {str(earlier)!r}" if earlier.is_dir() else ""
        msg = f"Got {str(folder)!r}, which holds no readable {MANIFEST}; expected a folder that Bundle.save wrote{hint}"
        raise BundleError(msg) from error
    found = hash_of_bytes(packed)
    if expected_sha256 is not None and found != expected_sha256.strip().lower():
        msg = f"Got {where} with a manifest of SHA-256 {found} but expected {expected_sha256}; do not use it"
        raise BundleError(msg)
    content = parse(packed)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        number = content.get("format") if isinstance(content, dict) else None
        msg = f"Got {where} of format {number!r} but this version reads format {FORMAT}; fit anew"
        raise BundleError(msg)
    try:
        listed = {str(name): str(entry["sha256"]) for name, entry in content["files"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"Got {where}, whose {MANIFEST} does not list its files with their SHA-256; it is damaged"
        raise BundleError(msg) from error
    if strange := [name for name in listed if not _belongs(name)]:
        msg = f"Got {where}, whose {MANIFEST} lists {strange[0]!r}, which is no part of a bundle; do not use it"
        raise BundleError(msg)
    return Manifest(sha256=found, content=content, listed=listed)


def verify(folder: Path, manifest: Manifest) -> bytes | None:
    """Compare every file with its hash. Return the content of `tuned.json`, if there is one.

    Raises:
        BundleError: A file is missing, damaged or not listed.
    """
    present = set(_names(folder))
    for name, expected in manifest.listed.items():
        if name not in present:
            msg = f"Got the bundle {str(folder)!r} without {name!r}, which its {MANIFEST} lists; copy it whole"
            raise BundleError(msg)
        if hash_of_file(folder / name) != expected:
            msg = (
                f"Got {name!r} in the bundle {str(folder)!r} with another SHA-256 than {MANIFEST} names: it is damaged"
            )
            raise BundleError(msg)
    if more := sorted(present - set(manifest.listed)):
        msg = f"Got {more[0]!r} in the bundle {str(folder)!r}, which its {MANIFEST} does not list; move it elsewhere"
        raise BundleError(msg)
    return (folder / TUNED).read_bytes() if TUNED in manifest.listed else None


def check_outputs(bundle: Path, *files: Path | None, folder: Path | None = None) -> None:
    """Refuse an output inside a bundle, which holds only what `Bundle.save` put there. Refuse an unwritable one too.

    Args:
        bundle: The bundle's folder.
        *files: Files to be written. None stands for no output.
        folder: A folder to be written into.

    Raises:
        BundleError: One is the bundle's folder itself, or lies in it.
        InvalidInputError: One cannot be written. See `check_place`.
    """
    for output in (*files, folder):
        if output is not None and output.resolve().is_relative_to(bundle.resolve()):
            msg = f"{output}: got a place inside the bundle {str(bundle)!r} but expected another; it would be damaged"
            raise BundleError(msg)
        check_place(output, folder=output is folder)


def check_target(path: Path) -> None:
    """Refuse a place that holds something other than a bundle, because saving would replace it.

    Raises:
        BundleError: There is a file, or a folder with something else in it.
    """
    if not path.exists():
        return
    ours = path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))
    others = [] if not ours else [name for name in _names(path) if not _belongs(name)]
    if not ours or others:
        what = f"which holds {others[0]!r}" if others else "which is no bundle"
        msg = f"Got the place {str(path)!r}, {what}, for a bundle but expected a new folder or one with a bundle only"
        raise BundleError(msg)


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


def parse(packed: bytes) -> Any:
    """The content of a file of a bundle, as JSON.

    Raises:
        BundleError: It is not JSON, so the bundle is damaged.
    """
    try:
        return json.loads(packed)
    except ValueError as error:
        msg = f"Got a file of a bundle that is no JSON ({error}); the bundle is damaged"
        raise BundleError(msg) from error


def _names(folder: Path) -> list[str]:
    """The files of a bundle but for the manifest. Hidden files, such as a file browser makes, are never read."""
    names = []
    for place, folders, inside in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(Path(place) / name).relative_to(folder).as_posix() for name in inside if not name.startswith(".")]
    return sorted(name for name in names if name != MANIFEST)


def _belongs(name: str) -> bool:
    """Whether a bundle may have a file of this name, inside its folder."""
    parts = name.split("/")
    inside = parts[0] in {SCORER, EXAMPLES} and len(parts) > 1 and not any(part in {"", ".", ".."} for part in parts)
    return name == TUNED or (inside and "\\" not in name and "\0" not in name)
