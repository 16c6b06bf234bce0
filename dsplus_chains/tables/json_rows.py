"""Reads JSON and JSON Lines from lines of text, with the standard library, which changes no type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dsplus_chains.running.messages import unique_keys
from dsplus_chains.schema import shown
from dsplus_chains.tables.file_rows import FileRows, Row, Rows
from dsplus_chains.tables.table_error import TableError, at_line


def read_lines(path: Path, texts: Callable[[], Iterator[str]]) -> tuple[list[str], Rows]:
    """The columns and the rows of JSON Lines, one object a line. All of them are checked.

    Args:
        path: The file, for errors.
        texts: A function that begins to read its lines.

    Raises:
        TableError: A line is no JSON object.
    """

    def read() -> Iterator[Row]:
        row = 0
        for number, line in enumerate(texts(), start=1):
            if line.strip():
                row += 1
                place = at_line(path, row, number)
                yield _object(place, _parsed(place, line))

    columns: dict[str, None] = {}
    n = 0
    for row in read():
        columns |= dict.fromkeys(row)
        n += 1
    return list(columns), FileRows(n=n, read=read)


def read_json(path: Path, texts: Callable[[], Iterator[str]]) -> tuple[list[str], Rows]:
    """The columns and the rows of a JSON file, which is read as a whole.

    It holds a list of objects, or an object of columns. Each column is a list, or an object by row, as pandas writes
    it. JSON Lines are read too, whatever their file is called.

    Raises:
        TableError: It is no JSON, or something else.
    """
    text = "".join(texts())
    if not text.strip():
        return [], []
    try:
        found = _parsed(str(path), text)
    except TableError:
        try:
            return read_lines(path, texts)
        except TableError:
            pass
        raise
    if isinstance(found, Mapping):
        found = _from_columns(path, found)
    if not isinstance(found, list):
        msg = f"{path}: got {shown(found)} but expected a list of objects, or an object of columns"
        raise TableError(msg)
    rows = [_object(f"{path}, row {number}", row) for number, row in enumerate(found, start=1)]
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _from_columns(path: Path, columns: Mapping[str, Any]) -> list[Row]:
    """The rows of an object of columns.

    Raises:
        TableError: A value is no column, or columns have different rows.
    """
    if strange := [name for name, column in columns.items() if not isinstance(column, (list, dict))]:
        got = f"got {shown(columns[strange[0]])} under {strange[0]!r}"
        msg = f"{path}: {got} but expected a column: a list, or an object by row"
        raise TableError(msg)
    keys = [list(range(len(column))) if isinstance(column, list) else list(column) for column in columns.values()]
    if any(rows != keys[0] for rows in keys):
        msg = f"{path}: got columns with different rows but expected the same rows in each"
        raise TableError(msg)
    return [{name: column[key] for name, column in columns.items()} for key in (keys[0] if keys else [])]


def _object(place: str, found: Any) -> Row:
    if isinstance(found, dict):
        return found
    msg = f"{place}: got {shown(found)} but expected an object, {{column: value}}"
    raise TableError(msg)


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        msg = f"{place}: unreadable as JSON ({error})"
        raise TableError(msg) from error
