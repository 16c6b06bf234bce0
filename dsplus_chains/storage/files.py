"""Files and folders that appear whole or not at all. They are written beside their place, then moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A file to write, beside `path`. It replaces `path` once the block has ended without an error.

    Missing folders above it are made. Neither an error nor a kill leaves half a file.

    Args:
        path: Where the file will be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, first_wins: bool = False) -> Iterator[Path]:
    """A folder to write into, beside `path`. It replaces `path` once the block has ended without an error.

    An earlier folder is first moved to `earlier_folder`, then deleted.

    Args:
        path: Where the folder will be.
        first_wins: Whether a folder stays that is already there, for instance from another process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if not (first_wins and path.is_dir()):
            _swap(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def earlier_folder(path: Path) -> Path:
    """Where an earlier folder is while a new one replaces it. After a kill it may still be there."""
    return path.with_name(f".{path.name}.earlier")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{uuid4().hex[:8]}")


def _swap(partial: Path, target: Path) -> None:
    earlier = earlier_folder(target)
    if target.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        target.rename(earlier)
    try:
        partial.rename(target)
    except OSError:
        if earlier.is_dir():
            earlier.rename(target)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
