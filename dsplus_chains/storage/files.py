"""Files and folders that appear whole or not at all. They are written beside their place, then moved."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from dsplus_chains.schema import InvalidInputError


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A file to write, beside `path`. It replaces `path` once the block has ended without an error.

    Missing folders above it are made. Neither an error nor a kill leaves half a file. What a killed process has left
    beside `path` is removed.

    Args:
        path: Where the file will be.
    """
    with _partial(path, Path.touch) as partial:
        try:
            with _named(path):
                yield partial
                _sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, first_wins: bool = False) -> Iterator[Path]:
    """A folder to write into, beside `path`. It replaces `path` once the block has ended without an error.

    An earlier folder is first moved to `earlier_folder`, then deleted. What a killed process has left beside `path` is
    removed.

    Args:
        path: Where the folder will be.
        first_wins: Whether a folder stays that is already there, for instance from another process.
    """
    with _partial(path, Path.mkdir) as partial:
        try:
            with _named(path):
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
        InvalidInputError: A folder, a device or a pipe is in the place of a file, or a file in that of a folder. Or
            nothing can be made there, which is tried, since permissions do not tell of all file systems.
    """
    if path is None:
        return
    above = next(each for each in path.resolve().parents if each.exists())
    if path.exists() and path.is_dir() != folder:
        wrong = f"where a {'file' if folder else 'folder'} is, but expected a {'folder' if folder else 'file'}"
    elif path.exists() and not folder and not path.is_file():  # a file would be put in its place
        wrong = "where a device or a pipe is, but expected a file"
    elif not above.is_dir():
        wrong = f"below {str(above)!r}, which is no folder"
    elif path.exists() and not os.access(path, os.W_OK):
        wrong = "where you may not write"
    elif why := _why_not(above) or (_why_not(path) if path.is_dir() else None):
        wrong = f"where nothing can be written ({why})"
    else:
        return
    msg = f"{path}: got a place {wrong}; name another one"
    raise InvalidInputError(msg)


def _why_not(folder: Path) -> str | None:
    """Why no file can be made in a folder, or None."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def earlier_folder(path: Path) -> Path:
    """Where an earlier folder is while a new one replaces it. After a kill it may still be there."""
    return path.with_name(f".{path.name}.earlier")


@contextmanager
def _partial(path: Path, make: Any) -> Iterator[Path]:
    """A new file or folder beside `path`. It is locked, so that no other process takes it for a left-over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    while True:
        partial = path.with_name(f".{path.name}.partial-{uuid4().hex[:8]}")
        make(partial)
        with _locked(partial) as lock:
            if lock != "theirs" and partial.exists():
                yield partial
                return


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the place in an error that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _clear(path: Path) -> None:
    """Remove what killed processes have left beside `path`. What is locked belongs to a living one."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        with suppress(OSError):
            is_folder = stat.S_ISDIR(left.lstat().st_mode)
            with _locked(left) as lock:
                if lock == "ours":
                    shutil.rmtree(left) if is_folder else left.unlink()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait until no other process holds a file, and hold it. A kill releases it. There are systems without such locks.

    Args:
        path: The file. It is made if it is missing.
    """
    path.touch()
    with _locked(path, wait=True):
        yield


@contextmanager
def _locked(path: Path, *, wait: bool = False) -> Iterator[str]:
    """Lock a file or folder, and say whose the lock is. A kill releases it."""
    descriptor, owner = _lock(path, wait=wait)
    try:
        yield owner
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> tuple[int | None, str]:
    """A locked descriptor, and whose the lock is: "ours", "theirs", or "nobody's" on a system without such locks."""
    try:
        fcntl: Any = import_module("fcntl")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (ImportError, OSError):  # Windows, a link, or gone
        return None, "nobody's"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return descriptor, "theirs"
    except OSError:
        return descriptor, "nobody's"  # a file system without locks
    return descriptor, "ours"


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
