"""Reading tables: CSV, TSV and JSONL with the standard library alone, Parquet with pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from dsplus_chains.schema import shown
from dsplus_chains.tables.table import Row, Table, TableError

_MOST_CHARACTERS = 2**31 - 1  # of one field; a long document exceeds the csv module's own bound of 131,072


def read_table(path: str | Path) -> Table:
    """Read a table. The ending of its name tells its kind: .csv, .tsv, .jsonl or .parquet.

    Rows are counted from 1, without the header. Text files are UTF-8, or UTF-16 with a byte order mark.

    Raises:
        TableError: The file is missing, empty, of another kind or encoding, or has an unreadable row.
    """
    place = Path(path)
    reader = _READERS.get(place.suffix.lower())
    if reader is None:
        msg = f"{place}: got a file of the kind {place.suffix!r} but expected one of {', '.join(_READERS)}"
        raise TableError(msg)
    try:
        columns, rows = reader(place)
    except OSError as error:
        msg = f"{place}: cannot be read ({error.strerror or error})"
        raise TableError(msg) from error
    if not rows:
        msg = f"{place}: got a file without rows but expected a table with at least one row"
        raise TableError(msg)
    return Table(path=place, columns=tuple(columns), rows=tuple(rows), typed=reader not in {_read_csv, _read_tsv})


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> tuple[list[str], list[Row]]:
    return _read_separated(path, "\t")


def _read_separated(path: Path, delimiter: str) -> tuple[list[str], list[Row]]:
    # Strict, since otherwise a quote that is never closed makes one cell of the rest of the file.
    lines = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    bound = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        columns = next((line for line in lines if line), [])
        if twice := [name for name, times in Counter(columns).items() if times > 1]:
            msg = f"{path}: got the column {twice[0]!r} twice but expected each name once; rename one"
            raise TableError(msg)
        for line in lines:
            if not line:
                continue
            if len(line) != len(columns):
                wrong = f"got {len(line)} fields but expected {len(columns)}, as in the header; are quotes missing?"
                raise TableError(_at(path, len(rows) + 1, lines.line_num, columns, line, wrong))
            rows.append(dict(zip(columns, line, strict=True)))
    except csv.Error as error:
        wrong = f"unreadable ({error}); is a quote left open, or not doubled?"
        raise TableError(_at(path, len(rows) + 1, lines.line_num, (), (), wrong)) from error
    finally:
        csv.field_size_limit(bound)
    return columns, rows


def _read_jsonl(path: Path) -> tuple[list[str], list[Row]]:
    columns: dict[str, None] = {}
    rows: list[Row] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TableError(_at(path, len(rows) + 1, number, (), (), f"unreadable as JSON ({error})")) from error
        if not isinstance(row, dict):
            wrong = f"got {shown(row)} but expected an object, {{column: value}}"
            raise TableError(_at(path, len(rows) + 1, number, (), (), wrong))
        columns.update(dict.fromkeys(row))
        rows.append(row)
    return list(columns), rows


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        msg = f"{path}: reading Parquet needs pyarrow; run: pip install 'dsplus-chains[report]', or give a CSV file"
        raise TableError(msg) from error
    try:
        with path.open("rb") as file:
            found = parquet.read_table(file)
            return list(found.column_names), found.to_pylist()
    except FileNotFoundError:
        raise
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's own errors are kinds of these
        msg = f"{path}: unreadable as Parquet ({' '.join(str(error).split())[:160]})"
        raise TableError(msg) from error


_READERS: dict[str, Callable[[Path], tuple[list[str], list[Row]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _text(path: Path) -> str:
    packed = path.read_bytes()
    wide = packed.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return packed.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = packed[: error.start].count(b"\n") + 1
        msg = f"{path}, line {line}: got bytes that are no UTF-8 ({error.reason}); save the file as UTF-8"
        raise TableError(msg) from error


def _at(path: Path, row: int, line: int, columns: Sequence[str], cells: Sequence[str], wrong: str) -> str:
    where = f", column {columns[len(cells)]!r}" if len(cells) < len(columns) else ""
    return f"{path}, row {row} (line {line}){where}: {wrong}"
