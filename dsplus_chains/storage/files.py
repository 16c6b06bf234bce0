"""Files and folders that appear whole or not at all. They are written beside their place, then moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from dsplus_chains.schema import InvalidInputError


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


def check_place(path: Path | None, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before there is something to write.

    Args:
        path: Where a file will be. None stands for none.
        folder: Whether it will be a folder.

    Raises:
        InvalidInputError: A folder is in the place of a file, or the other way round. Or no folder can be made there.
    """
    if path is None:
        return
    above = next(each for each in path.resolve().parents if each.exists())
    if path.exists() and path.is_dir() != folder:
        wrong = f"where a {'file' if folder else 'folder'} is, but expected a {'folder' if folder else 'file'}"
    elif not above.is_dir():
        wrong = f"below {str(above)!r}, which is no folder"
    elif not os.access(above, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        wrong = "where you may not write"
    else:
        return
    msg = f"{path}: got a place {wrong}; name another one"
    raise InvalidInputError(msg)


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
