"""Makes rows of the lines of a grid, whose first line names the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsplus_chains.schema import is_missing
from dsplus_chains.tables.table import Row
from dsplus_chains.tables.table_error import TableError


def from_grid(path: Path, header: Sequence[Any], lines: Sequence[Sequence[Any]]) -> tuple[list[str], list[Row]]:
    """The names of the columns, and the rows.

    White space around a name is no part of it. A column without a name and without a value is left out.

    Args:
        path: The file, for errors.
        header: The names, one a column.
        lines: The cells, as many in each line.

    Raises:
        TableError: A name stands twice.

    Example:
        >>> from_grid(Path("t.csv"), ["text", " label", ""], [["hi", "a", " "]])
        (['text', 'label'], [{'text': 'hi', 'label': 'a'}])
    """
    names = ["" if is_missing(name) else str(name).strip() for name in header]
    kept = [place for place, name in enumerate(names) if name or not all(is_missing(line[place]) for line in lines)]
    columns = [names[place] for place in kept]
    if twice := [name for name, times in Counter(columns).items() if times > 1]:
        msg = f"{path}: got the column {twice[0]!r} twice but expected each name once; rename one"
        raise TableError(msg)
    return columns, [{names[place]: line[place] for place in kept} for line in lines]


def filled_lines(lines: Sequence[Sequence[Any]]) -> int:
    """The number of lines up to the last one with something in it. Excel may write lines of nothing after it.

    Example:
        >>> filled_lines([["a", "b"], ["", " "]])
        1
    """
    end = len(lines)
    while end and len(lines[end - 1]) > 1 and all(map(is_missing, lines[end - 1])):
        end -= 1
    return end
