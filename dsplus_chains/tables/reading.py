"""Reads tables from files: text files with the standard library, Parquet and workbooks with a library each.

A file is first gone through as a whole, to check it. Its rows are then read as they are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from dsplus_chains.tables.decoding import check_encoding, lines_of
from dsplus_chains.tables.delimiters import check_delimiter
from dsplus_chains.tables.file_rows import Rows, stamp_of, unchanged
from dsplus_chains.tables.json_rows import read_json, read_lines
from dsplus_chains.tables.separated import read_separated
from dsplus_chains.tables.table import Table
from dsplus_chains.tables.table_error import TableError
from dsplus_chains.tables.typed_files import read_parquet, read_workbook

_SEPARATED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
"""What usually separates the fields of a kind of file. Excel's "Text" and "Unicode Text" end in .txt."""

_JSON: dict[str, Callable[[Path, Callable[[], Iterator[str]]], tuple[list[str], Rows]]] = {
    ".jsonl": read_lines,
    ".ndjson": read_lines,
    ".json": read_json,
}
_TYPED: dict[str, Callable[[Path], tuple[list[str], Rows]]] = {".parquet": read_parquet, ".xlsx": read_workbook}

KINDS = (*_SEPARATED, *_JSON, *_TYPED)
"""The endings of files that can be read."""


def read_table(path: str | Path, *, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Read a table. The ending of its name tells its kind: .csv, .tsv, .jsonl, .json, .xlsx or .parquet.

    Rows are counted from 1, without the header. Text files are UTF-8, unless a byte order mark or `encoding` says
    otherwise. White space around a name in a header is no part of it. A column without a name and without a value is
    left out.

    Args:
        path: The file.
        delimiter: What separates the fields of a text file, such as ";". None takes the usual one, or what the file
            itself says. That is Excel's line "sep=;", or a header that has only the other one.
        encoding: The encoding of a text file, such as "cp1252".

    Raises:
        TableError: The file is missing, empty, of another kind or encoding, or has an unreadable row.
    """
    table = open_table(path, delimiter=delimiter, encoding=encoding)
    return replace(table, rows=tuple(table.rows))


def open_table(path: str | Path, *, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Check a table as `read_table` does, and leave its rows in the file. They are read anew each time.

    A .json file and a workbook are held in memory all the same.

    Args:
        path: The file.
        delimiter: What separates the fields of a text file.
        encoding: The encoding of a text file.

    Raises:
        TableError: As in `read_table`. The rows themselves raise it too if the file has changed since.
    """
    place = Path(path)
    check_table_options(place, delimiter=delimiter, encoding=encoding)
    kind = place.suffix.lower()
    try:
        since = stamp_of(place)
        if kind in _TYPED:
            columns, rows = _TYPED[kind](place)
        else:
            texts = partial(lines_of, place, encoding)
            if kind in _JSON:
                columns, rows = _JSON[kind](place, texts)
            else:
                separator = None if delimiter is None else check_delimiter(delimiter)
                columns, rows = read_separated(place, texts, delimiter=separator, usual=_SEPARATED[kind])
    except OSError as error:
        msg = f"{place}: cannot be read ({error.strerror or error})"
        raise TableError(msg) from error
    if not rows:
        msg = f"{place}: got a file without rows but expected a table with at least one row"
        raise TableError(msg)
    return Table(path=place, columns=tuple(columns), rows=unchanged(place, rows, since), typed=kind not in _SEPARATED)


def check_table_options(path: Path, *, delimiter: str | None, encoding: str | None) -> None:
    """Refuse a file of another kind, and an option that says nothing about this kind.

    Raises:
        TableError: This is the case.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        msg = f"{path}: got a file of the kind {path.suffix!r} but expected one of {', '.join(KINDS)}"
        raise TableError(msg)
    for name, value, kinds in (("delimiter", delimiter, _SEPARATED), ("encoding", encoding, {**_SEPARATED, **_JSON})):
        if value is not None and kind not in kinds:
            msg = f"{path}: got {name}={value!r}, which a file of the kind {kind!r} does not have; leave it out"
            raise TableError(msg)
    if delimiter is not None:
        check_delimiter(delimiter)
    if encoding is not None:
        check_encoding(encoding)
