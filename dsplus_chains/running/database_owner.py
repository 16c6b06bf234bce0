"""Whose an SQLite file is, so that a store puts nothing into the database of another program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dsplus_chains.schema import InvalidInputError, shown

OURS = int.from_bytes(b"ds+c", "big")
"""Stands in SQLite's `application_id` of every file of this package."""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
_COLUMNS = "SELECT name FROM pragma_table_info(?)"


def claim(connection: sqlite3.Connection, path: str | Path | None, tables: str) -> str:
    """Refuse the database of another program, before anything is written into it.

    A file is ours if it has no tables, or is marked as ours. A file without a mark is ours too if it has some of the
    store's tables and each has the store's columns. One file may hold several stores.

    Args:
        connection: A connection to the file.
        path: Its name, for the error.
        tables: Statements that make the store's tables.

    Returns:
        The statement that marks the file as ours, or an empty one if it is marked.

    Raises:
        InvalidInputError: It is the database of another program, or perhaps of another release.
        sqlite3.Error: It cannot be read.

    Example:
        >>> with closing(sqlite3.connect(":memory:")) as shop:
        ...     claim(shop, "shop.sqlite", "CREATE TABLE gold (label);") != ""
        ...     _ = shop.execute("CREATE TABLE orders (id)")
        ...     claim(shop, "shop.sqlite", "CREATE TABLE gold (label);")
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got the SQLite file 'shop.sqlite' of another program, with the...
    """
    found = _named(connection)  # before the mark, which another process may set meanwhile
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if mark == OURS:
        return ""
    with closing(sqlite3.connect(":memory:")) as own:
        own.executescript(tables)
        wanted = _named(own)
    shared = found.keys() & wanted.keys()
    if found and not (shared and all(found[name] == wanted[name] for name in shared)):
        or_release = " or of another release of dsplus_chains" if wanted.keys() <= found.keys() else ""
        msg = (
            f"Got the SQLite file {str(path)!r} of another program{or_release}, with the tables {shown(list(found))}, "
            "but expected a new file or one of this package; name another file"
        )
        raise InvalidInputError(msg)
    return f"PRAGMA application_id = {OURS};"


def _named(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table."""
    names = [name for (name,) in connection.execute(_TABLES).fetchall()]
    return {name: [column for (column,) in connection.execute(_COLUMNS, (name,))] for name in names}
