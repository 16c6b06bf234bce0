"""`FileRows` are rows that stay in their file, and are read anew each time that somebody goes through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from typing_extensions import override

from dsplus_chains.tables.table_error import TableError

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Collection[Row]
Stamp: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class FileRows(Rows):
    """Rows of a file, of which one at a time is in memory.

    Args:
        n: Number of rows.
        read: Function that begins to read them.
    """

    n: int
    read: Callable[[], Iterator[Row]]

    @override
    def __len__(self) -> int:
        return self.n

    @override
    def __iter__(self) -> Iterator[Row]:
        return self.read()

    @override
    def __contains__(self, row: object) -> bool:
        return any(row == each for each in self)


def stamp_of(path: Path) -> Stamp:
    """What tells a file from what it was before."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def unchanged(path: Path, rows: Rows, since: Stamp) -> FileRows:
    """The same rows, as long as the file stays what it is.

    Going through them raises a `TableError` if the file has changed since.

    Args:
        path: The file.
        rows: Its rows.
        since: What `stamp_of` has said before the file was first read.
    """

    def read() -> Iterator[Row]:
        yield from rows
        if stamp_of(path) != since:
            msg = f"{path}: got a file that has changed while it was read; run again"
            raise TableError(msg)

    return FileRows(n=len(rows), read=read)
