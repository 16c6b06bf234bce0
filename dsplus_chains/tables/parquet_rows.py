"""Writing rows into a Parquet file, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.typed_files import PIECE, parquet_of

_ERRORS = (OverflowError, TypeError, ValueError)
"""What pyarrow raises besides its own errors about values that it cannot hold, such as halves of characters."""


class _UnfitError(Exception):
    """Some values of a column are not of its type."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def write_parquet_rows(
    path: Path, columns: Sequence[str], rows: Iterable[Row], told: Callable[[Any], str | None]
) -> None:
    """Write rows into a Parquet file.

    A column has the type of its values. If they have several that no type holds, such as texts and numbers, they become
    texts. So do those that Parquet has no type for.

    Args:
        path: The file.
        columns: The columns.
        rows: The rows. They are gone through twice, and once more for each column whose values turn out to be unfit.
        told: How any other value is written as a text. None is a gap.

    Raises:
        TableError: pyarrow is not installed.
    """
    arrow, parquet = parquet_of(path)
    types: dict[str, Any] = dict.fromkeys(columns, arrow.null())
    for piece in _pieces(rows):
        types = {name: _widened(arrow, known, [row.get(name) for row in piece]) for name, known in types.items()}
    types = {name: kind if _is_known(arrow, parquet, kind) else arrow.string() for name, kind in types.items()}
    while True:
        schema = arrow.schema(list(types.items()))
        try:
            with parquet.ParquetWriter(path, schema) as writer:
                for piece in _pieces(rows):
                    cells = [_cells(arrow, name, kind, piece, told) for name, kind in types.items()]
                    writer.write_table(arrow.Table.from_arrays(cells, schema=schema))
        except _UnfitError as error:
            types[error.column] = arrow.string()
        else:
            return


def _pieces(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while piece := list(islice(left, PIECE)):
        yield piece


def _widened(arrow: Any, known: Any, values: list[Any]) -> Any:
    """The type of the values before and of these."""
    try:
        schemas = [arrow.schema([("", kind)]) for kind in (known, arrow.array(values).type)]
        return arrow.unify_schemas(schemas, promote_options="permissive").types[0]
    except (*_ERRORS, arrow.ArrowException):
        return arrow.string()


def _is_known(arrow: Any, parquet: Any, kind: Any) -> bool:
    """Whether Parquet has such a type. It has none for objects without a key."""
    try:
        parquet.write_table(arrow.schema([("", kind)]).empty_table(), BytesIO())
    except arrow.ArrowException:
        return False
    return True


def _cells(arrow: Any, name: str, kind: Any, piece: list[Row], told: Callable[[Any], str | None]) -> Any:
    """The values of a column of that type.

    Raises:
        _UnfitError: Some of them are of another type.
    """
    values = [row.get(name) for row in piece]
    if kind == arrow.string():
        return arrow.array([None if value is None else _text(value, told) for value in values], type=kind)
    try:
        return arrow.array(values, type=kind)
    except (*_ERRORS, arrow.ArrowException) as error:
        raise _UnfitError(name) from error


def _text(value: Any, told: Callable[[Any], str | None]) -> str | None:
    text = value if isinstance(value, str) else told(value)
    return None if text is None else text.encode("utf-8", "replace").decode()
