"""Writing tables, whole or not at all."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from numbers import Rational, Real
from pathlib import Path
from typing import Any

from dsplus_chains.storage.files import replacing_file
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.parquet_rows import write_parquet_rows
from dsplus_chains.tables.table_error import TableError
from dsplus_chains.tables.typed_files import parquet_of


def check_writable(path: Path) -> None:
    """Refuse a file that `write_table` could not write, before any work is done.

    Raises:
        TableError: This kind of file cannot be written, or its place is a folder. Or pyarrow is not installed.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".tsv", ".jsonl", ".parquet"}:
        msg = (
            f"{path}: got a file of the kind {path.suffix!r} for the output but expected .csv, .tsv, .jsonl or .parquet"
        )
        raise TableError(msg)
    if kind == ".parquet":
        parquet_of(path)
    if path.is_dir():
        msg = f"{path}: got a folder but expected the name of a file"
        raise TableError(msg)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table, whole or not at all. The ending of its name tells its kind: CSV, TSV, JSONL or Parquet.

    Text is in UTF-8. JSON has no word for NaN and infinite numbers, which become null. Bytes become text, or Base64 if
    they are none. So do keys, and any other key becomes its text. Parquet keeps types; see `write_parquet_rows`.

    Args:
        path: The file.
        columns: The columns of CSV, TSV and Parquet.
        rows: The rows. They are gone through twice. An iterator is read into memory for that, and anything else is not.

    Raises:
        TableError: This kind of file cannot be written, or its place is a folder. Or pyarrow is not installed.
    """
    check_writable(path)
    if path.suffix.lower() == ".parquet":
        with replacing_file(path) as partial:
            write_parquet_rows(partial, columns, list(rows) if isinstance(rows, Iterator) else rows, _in_words)
        return
    with replacing_file(path) as partial, partial.open("w", encoding="utf-8", errors="replace", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            file.writelines(_json(dict(row)) + "\n" for row in rows)
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
    """A cell of CSV. NaN is a gap, and so an empty cell."""
    if isinstance(value, (dict, list)):
        return _json(value)
    if isinstance(value, (bytes, bytearray)):
        return _told(value)
    return None if _is_real(value) and math.isnan(value) else value


def _in_words(value: Any) -> str | None:
    """A value as a text, as in CSV."""
    cell = _cell(value)
    return None if cell is None else str(cell)


def _json(value: Any) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_told)


def _finite(value: Any) -> Any:
    """A value with None for each NaN and each infinite number, for which JSON has no word."""
    if isinstance(value, dict):
        return {_key(name): _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if _is_real(value) and not math.isfinite(value) else value


def _key(name: Any) -> Any:
    """The key of a part, as a text unless JSON has a form for it."""
    return name if name is None or isinstance(name, (str, int)) else _told(name)


def _is_real(value: Any) -> bool:
    """Whether it may be NaN or infinite, such as NumPy's floats. Integers never are, and some are too large to ask."""
    return isinstance(value, Real) and not isinstance(value, Rational)


def _told(value: Any) -> str:
    """What JSON has no form for, as a text. Bytes that are no text are in Base64."""
    if not isinstance(value, (bytes, bytearray)):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _is_broken(cell: Any) -> bool:
    return isinstance(cell, str) and ("\n" in cell or "\r" in cell)
