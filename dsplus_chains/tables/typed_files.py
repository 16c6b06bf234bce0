"""Files whose cells have types: Parquet with pyarrow, and workbooks of Excel with openpyxl."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from dsplus_chains.schema import is_missing
from dsplus_chains.storage.files import replacing_file
from dsplus_chains.tables.file_rows import Rows
from dsplus_chains.tables.grid import from_grid, without_blank_end
from dsplus_chains.tables.table_error import TableError

PIECE = 1000
"""Rows of a Parquet file that are read or written at a time."""


def read_parquet(path: Path) -> tuple[list[str], Rows]:
    """The columns and the rows of a Parquet file.

    Raises:
        TableError: pyarrow is not installed, or the file is unreadable.
    """
    _, parquet = parquet_of(path)

    def lines() -> Iterator[Sequence[Any]]:
        with path.open("rb") as file, _readable(path, "Parquet"):
            for some in parquet.ParquetFile(file, pre_buffer=False).iter_batches(PIECE):
                yield from zip(*(column.to_pylist() for column in some.columns), strict=True)

    with path.open("rb") as file, _readable(path, "Parquet"):
        names = parquet.ParquetFile(file).schema_arrow.names
    return from_grid(path, names, lines)


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns into a Parquet file, whole or not at all.

    Raises:
        TableError: pyarrow is not installed.
    """
    arrow, parquet = parquet_of(path)
    table = arrow.table(dict(columns))
    with replacing_file(path) as partial:
        parquet.write_table(table, partial)


def read_workbook(path: Path) -> tuple[list[str], Rows]:
    """The columns and the rows of the first sheet of a workbook. Its first row with something in it is the header.

    It is read as a whole. The values of formulas are read, and Excel's own errors, such as #N/A, are empty cells.

    Raises:
        TableError: openpyxl is not installed, or the file is unreadable.
    """
    openpyxl = _library(path, "openpyxl", ".xlsx", "openpyxl")
    with path.open("rb") as file, _readable(path, "a workbook"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions, which do not matter here
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # a file may claim a million rows
        lines = [[None if cell.data_type == "e" else cell.value for cell in row] for row in sheet.iter_rows()]
        book.close()
    start = next((number for number, line in enumerate(lines) if not all(map(is_missing, line))), len(lines))
    width = max(map(len, lines), default=0)
    grid = [[*line, *[None] * (width - len(line))] for line in lines[start:]]
    grid = list(without_blank_end(grid))
    return from_grid(path, grid[0], lambda: grid[1:]) if grid else ([], [])


def parquet_of(path: Path) -> tuple[Any, Any]:
    """pyarrow, and its module for Parquet.

    Raises:
        TableError: pyarrow is not installed.
    """
    return _library(path, "pyarrow", "Parquet", "pyarrow"), _library(path, "pyarrow.parquet", "Parquet", "pyarrow")


def _library(path: Path, module: str, kind: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        msg = f"{path}: {kind} needs {package}; run: pip install 'dsplus-chains[report]', or take a CSV file"
        raise TableError(msg) from error


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises about a damaged file into a `TableError`."""
    try:
        yield
    except TableError:
        raise
    except Exception as error:  # libraries of file formats raise errors of any kind
        msg = f"{path}: unreadable as {kind} ({' '.join(str(error).split())[:160] or type(error).__name__})"
        raise TableError(msg) from error
