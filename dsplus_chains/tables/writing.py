"""Writing tables, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dsplus_chains.storage.files import replacing_file
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.table_error import TableError


def check_writable(path: Path) -> None:
    """Refuse a file that `write_table` could not write, before any work is done.

    Raises:
        TableError: This kind of file cannot be written, or its place is a folder.
    """
    if path.suffix.lower() not in {".csv", ".tsv", ".jsonl"}:
        msg = f"{path}: got a file of the kind {path.suffix!r} for the output but expected .csv, .tsv or .jsonl"
        raise TableError(msg)
    if path.is_dir():
        msg = f"{path}: got a folder but expected the name of a file"
        raise TableError(msg)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table, whole or not at all. The ending of its name tells its kind: CSV, TSV or JSONL, in UTF-8.

    Args:
        path: The file.
        columns: The columns of CSV and TSV.
        rows: The rows. They are gone through twice. An iterator is read into memory for that, and anything else is not.

    Raises:
        TableError: This kind of file cannot be written, or its place is a folder.
    """
    check_writable(path)
    with replacing_file(path) as partial, partial.open("w", encoding="utf-8", errors="replace", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            file.writelines(json.dumps(dict(row), ensure_ascii=False, default=str) + "\n" for row in rows)
        else:
            again = list(rows) if isinstance(rows, Iterator) else rows
            # A quoted header tells a reader that quotes between tabs hold lines together. And the csv module does not
            # quote a lone carriage return by itself.
            all_quoted = any(_is_broken(cell) for line in chain([columns], _lines(columns, again)) for cell in line)
            writer = csv.writer(
                file,
                delimiter="\t" if path.suffix.lower() == ".tsv" else ",",
                quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL,
                lineterminator="\n",
            )
            writer.writerow(columns)
            writer.writerows(_lines(columns, again))


def _lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[list[Any]]:
    return ([_cell(row.get(column)) for column in columns] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _is_broken(cell: Any) -> bool:
    return isinstance(cell, str) and ("\n" in cell or "\r" in cell)
