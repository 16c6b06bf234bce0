"""The error of a table, and how it names a place."""

from __future__ import annotations

from pathlib import Path

from dsplus_chains.schema import DSPlusError


class TableError(DSPlusError, ValueError):
    """A file is no table, or a cell of it is not what was expected."""


def at_line(path: Path, row: int, line: int) -> str:
    """Where a row stands in a file, for an error."""
    return f"{path}, row {row} (line {line})"
