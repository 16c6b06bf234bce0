"""`SharedDatabase`: an SQLite database that threads and processes write to, one transaction after the other."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsplus_chains.running.database_owner import claim
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import InvalidInputError

_inherited: list[sqlite3.Connection | None] = []
"""Connections of a parent process. SQLite forbids to use them here, and even to close them."""


class UnusableFileError(InvalidInputError, sqlite3.OperationalError):
    """The file is closed, or cannot be opened. What can go on without a file that SQLite refuses goes on here too."""


class SharedDatabase:
    """An SQLite database, in a file or in memory.

    Args:
        path: The file. It is made if it is missing. None keeps all in memory.
        tables: Statements that make the tables, if they are missing.

    Raises:
        InvalidInputError: The file cannot be opened, or is the database of another program.
    """

    def __init__(self, path: Path | None, tables: str) -> None:
        self._path = path
        self._tables = tables
        self._lock = ForkLock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one query.

        Raises:
            UnusableFileError: The file is closed, or cannot be opened in this process.
        """
        with self._lock:
            if self._closed:
                msg = f"Got the SQLite file {self._name}, which is closed, but expected an open one; open it anew"
                raise UnusableFileError(msg)
            connection = self._connection
            if connection is None or self._process != os.getpid():
                _inherited.append(connection)
                connection = self._connection = self._opened()
                self._process = os.getpid()
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, for a transaction that nobody else writes beside, and that is kept whole or not at all."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself has taken it back if the disk is full
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file, which has everything. It may be closed already."""
        if not self._closed:
            with self.reading() as connection:
                connection.close()
                self._closed = True

    @property
    def _name(self) -> str:
        return repr(str(self._path or ":memory:"))

    def _opened(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path or ":memory:", check_same_thread=False, timeout=30, isolation_level=None
            )
            mark = claim(connection, self._path, self._tables)
            with suppress(sqlite3.OperationalError):  # another process is about to set it, and it stays
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(f"BEGIN IMMEDIATE; {self._tables} {mark} COMMIT;")
        except sqlite3.Error as error:
            msg = f"Got the SQLite file {self._name}, which cannot be opened ({error}); {_mended(self._path)}"
            raise UnusableFileError(msg) from error
        return connection


def _mended(path: Path | None) -> str:
    """What to do about a file that cannot be opened."""
    if path is not None and not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}, so make it, or name another file"
    if path is not None and not os.access(path if path.exists() else path.parent, os.W_OK):
        return "it is not to be written here, so name another file, or a copy elsewhere"
    return "name another file"


def this_process() -> str:
    """The name of this process, by which `is_gone` finds it. It tells when it began, since numbers come again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_begun(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Whether a process of this machine has ended. Of one of another machine that is not known, so it has not.

    Example:
        >>> is_gone(this_process())
        False
    """
    host, process, begun = (*owner.rsplit(":", 2), "")[:3]
    if host != socket.gethostname() or sys.platform == "win32":  # there, a signal 0 ends a process
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        pass
    return bool(begun) and _begun(int(process)) not in {"", begun}


def _begun(process: int) -> str:
    """When a process began, as Linux tells it, which no other with its number can have. Empty where it is not known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"{boot}/{fields[19]}"  # the 22nd field of proc(5), in ticks since the boot
