"""Makes rows of the lines of a grid, whose first line names the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dsplus_chains.schema import is_missing
from dsplus_chains.tables.file_rows import FileRows, Row
from dsplus_chains.tables.table_error import TableError


def from_grid(
    path: Path, header: Sequence[Any], lines: Callable[[], Iterable[Sequence[Any]]]
) -> tuple[list[str], FileRows]:
    """The names of the columns, and the rows. The lines are gone through once now, and once each time.

    White space around a name is no part of it. A column without a name and without a value is left out.

    Args:
        path: The file, for errors.
        header: The names, one a column.
        lines: A function that begins to read the cells, as many in each line.

    Raises:
        TableError: A name stands twice.

    Example:
        >>> columns, rows = from_grid(Path("t.csv"), ["text", " label", ""], lambda: [["hi", "a", " "]])
        >>> columns, list(rows)
        (['text', 'label'], [{'text': 'hi', 'label': 'a'}])
    """
    names = ["" if is_missing(name) else str(name).strip() for name in header]
    unnamed, n = {place for place, name in enumerate(names) if not name}, 0
    for line in lines():
        unnamed = {place for place in unnamed if is_missing(line[place])}
        n += 1
    kept = [(place, name) for place, name in enumerate(names) if place not in unnamed]
    columns = [name for _, name in kept]
    if twice := [name for name, times in Counter(columns).items() if times > 1]:
        msg = f"{path}: got the column {twice[0]!r} twice but expected each name once; rename one"
        raise TableError(msg)

    def read() -> Iterator[Row]:
        for line in lines():
            yield {name: line[place] for place, name in kept}

    return columns, FileRows(n=n, read=read)


def without_blank_end(lines: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """The lines up to the last one with something in it. Excel may write lines of nothing after it.

    Example:
        >>> list(without_blank_end([["a", "b"], ["", " "], ["c", "d"], ["", ""]]))
        [['a', 'b'], ['', ' '], ['c', 'd']]
    """
    held = []
    for line in lines:
        if len(line) > 1 and all(map(is_missing, line)):
            held.append(line)
            continue
        yield from held
        held.clear()
        yield line
