"""`SQLiteFile` is one SQLite file that threads and processes share, also processes that were forked."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsplus_chains.running.database_owner import claim
from dsplus_chains.running.forking import ForkLock

PATIENCE = 5.0
"""Most seconds to wait while somebody else has the file locked."""
_PAUSE = 0.02
"""Number of seconds between two tries."""
_TAKEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process. SQLite forbids to use them here, and even to close them."""


class SQLiteFile:
    """Runs single statements on a file. Each process has a connection of its own, which its threads take in turns.

    A file that is locked is tried again for some seconds. Other threads are not kept waiting meanwhile. Once that was
    in vain, the same statement is tried only once, until it works again.

    Args:
        path: The file. It is made if it is missing. Each process has its own ":memory:".
        setup: Statements for a new connection.
        largest: Most bytes of one value.
    """

    def __init__(self, path: str | Path, *, setup: Sequence[str], largest: int) -> None:
        self.path = str(path)
        self._setup = tuple(setup)
        self._largest = largest
        self._lock = ForkLock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._open = True
        self._in_vain: set[str] = set()

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement. Return its rows.

        Raises:
            sqlite3.Error: The file is closed, locked, damaged or full.
            InvalidInputError: It is the database of another program.
        """
        deadline = time.monotonic() + (0.0 if statement in self._in_vain else PATIENCE)
        while True:
            try:
                with self._lock:
                    rows = self._connected().execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                taken = getattr(error, "sqlite_errorcode", 0) & 0xFF in _TAKEN
                if taken and time.monotonic() < deadline:
                    time.sleep(_PAUSE)
                    continue
                if taken:
                    self._in_vain.add(statement)
                raise
            self._in_vain.discard(statement)
            return rows

    def close(self) -> None:
        """Close the file in this process. Later statements raise an error."""
        with self._lock:
            self._open = False
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()

    def _connected(self) -> sqlite3.Connection:
        if not self._open:
            msg = "it is closed"
            raise sqlite3.ProgrammingError(msg)
        if self._connection is not None and self._process != os.getpid():
            _inherited.append(self._connection)
            self._connection = None
        if self._connection is None:
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=0, isolation_level=None)
            try:
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._largest)
                mark = claim(connection, self.path, ";".join(self._setup))
                for statement in (mark, *self._setup):  # so that nobody sees our tables without it
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
            self._connection, self._process = connection, os.getpid()
        return self._connection
