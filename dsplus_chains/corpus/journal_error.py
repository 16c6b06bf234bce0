"""What is told of a journal that cannot go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsplus_chains.schema import DSPlusError

_TAKEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_OF_THE_DISK = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class JournalError(DSPlusError, ValueError):
    """A journal is of another run, or damaged, or in use, or the disk is full, or it was given what is no answer."""


def journal_error(path: Path, error: sqlite3.Error) -> JournalError:
    """What an error of SQLite means for a journal, and what to do.

    Only a damaged one is to be deleted, since others hold answers that were paid for.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.ProgrammingError):
        told = f"got a journal that is not open ({error})"
    elif code == sqlite3.SQLITE_FULL:
        told = "the disk is full; free some space and run the same command again"
    elif code in _TAKEN:
        told = "got a journal that another dsplus run is writing; wait for it, or choose another --out"
    elif code in _OF_THE_DISK:
        told = f"cannot be read or written ({error}); see to the disk, and run the same command again"
    else:
        told = f"damaged ({error}); delete the file to start anew"
    return JournalError(f"{path}: {told}")


@contextmanager
def journal_errors(path: Path) -> Iterator[None]:
    """Tell what SQLite says of a journal.

    Raises:
        JournalError: SQLite cannot go on.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise journal_error(path, error) from error
