"""Reads CSV and TSV from lines of text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

from dsplus_chains.running.forking import ForkLock
from dsplus_chains.tables.delimiters import DELIMITERS, name_of
from dsplus_chains.tables.file_rows import Rows
from dsplus_chains.tables.grid import from_grid, without_blank_end
from dsplus_chains.tables.table_error import TableError, at_line

_LIMIT = ForkLock()
_MOST_CHARACTERS = 2**31 - 1  # of one field; a long document exceeds the csv module's own bound of 131,072
_PIECE = 1000
"""Lines that are parsed at a time."""
_TOLD = re.compile(r"sep=(.)(?:\r\n|\n|\r)")
"""The first line by which Excel says what separates the fields."""

Texts: TypeAlias = Callable[[], Iterator[str]]
"""A function that begins to read the lines of a file as text."""


class _Line(list[str]):
    """The fields of a line that knows its number."""

    def __init__(self, number: int, fields: Iterable[str]) -> None:
        super().__init__(fields)
        self.number = number


def read_separated(path: Path, texts: Texts, *, delimiter: str | None, usual: str) -> tuple[list[str], Rows]:
    """The columns and the rows of a text with separated fields. All of them are checked.

    Quotes are those of CSV: a quoted field may hold delimiters, line ends, and doubled quotes. Between tabs, quotes may
    also be plain characters, as files of that kind often have them. See `_between_tabs`.

    Args:
        path: The file, for errors.
        texts: A function that begins to read its lines.
        delimiter: What separates the fields. None takes what Excel's first line says, or else the usual one. If the
            header has none of it, another one is taken, if all rows then have as many fields as the header.
        usual: The usual delimiter of this kind of file.

    Raises:
        TableError: A row is unreadable, or has another number of fields than the header.
    """
    told = _TOLD.fullmatch(next(texts(), ""))
    lines = texts if told is None else lambda: chain(["\n"], islice(texts(), 1, None))
    given = delimiter or (told[1] if told is not None else None)
    chosen = given or _delimiter_of(path, lines, usual)
    try:
        return _table(path, _reader(path, lines, chosen))
    except TableError as error:
        if isinstance(error.__cause__, UnicodeError):
            raise
        other = next((each for each in DELIMITERS if each != chosen and _fits(path, lines, each)), None)
        if other is None:
            raise
        msg = f"{error} With {other!r} between the fields, all rows would be complete (--delimiter {name_of(other)})."
        raise TableError(msg) from error


def _delimiter_of(path: Path, texts: Texts, usual: str) -> str:
    """The usual delimiter, or the only other one that the header has and that makes all rows complete."""
    header = next((line for line in texts() if _unended(line)), "")
    others = [each for each in DELIMITERS if usual not in header and each in header and _fits(path, texts, each)]
    return others[0] if len(others) == 1 else usual


def _fits(path: Path, texts: Texts, delimiter: str) -> bool:
    """Whether all rows have as many fields as the header, which has at least two."""
    try:
        lines = _reader(path, texts, delimiter)
        has_rows = len(list(islice(without_blank_end(lines()), 2))) > 1
        return has_rows and (_width(lines()) or 0) > 1
    except TableError:
        return False


def _width(lines: Iterable[_Line]) -> int | None:
    """The number of fields in each line up to the last one with something in it. None if it is not the same in all."""
    widths = {len(line) for line in without_blank_end(lines)}
    return widths.pop() if len(widths) == 1 else None


def _table(path: Path, lines: Callable[[], Iterator[_Line]]) -> tuple[list[str], Rows]:
    header: list[str] = next(without_blank_end(lines()), [])

    def body() -> Iterator[_Line]:
        for row, line in enumerate(islice(without_blank_end(lines()), 1, None), start=1):
            got, width = len(line), len(header)
            if got != width:
                where = f", column {header[got].strip()!r}" if got < width else ""
                wrong = f"got {got} fields but expected {width}, as in the header; are quotes missing?"
                msg = f"{at_line(path, row, line.number)}{where}: {wrong}"
                raise TableError(msg)
            yield line

    return from_grid(path, header, body)


def _reader(path: Path, texts: Texts, delimiter: str) -> Callable[[], Iterator[_Line]]:
    """A function that begins to read the lines with something in them, the header first.

    A space behind each delimiter of the header is no text.
    """
    if delimiter == "\t":
        return _between_tabs(path, texts)
    header: list[str] = next(_quoted(path, texts, delimiter, most=1), [])
    spaced = len(header) > 1 and all(name[:1] == " " for name in header[1:])
    return lambda: _quoted(path, texts, delimiter, spaced=spaced)


def _quoted(path: Path, texts: Texts, delimiter: str, *, spaced: bool = False, most: int = _PIECE) -> Iterator[_Line]:
    """Lines with CSV's quotes. So many are parsed at a time."""
    # Strict, since otherwise a quote that is never closed makes one cell of the rest of the file.
    lines: Any = csv.reader(texts(), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    filled = (_Line(lines.line_num, line) for line in lines if line)
    n = 0
    while True:
        found: list[_Line] = []
        with _LIMIT:  # the bound is one for the whole process
            bound = csv.field_size_limit(_MOST_CHARACTERS)
            try:
                found.extend(islice(filled, most))
            except csv.Error as error:
                place = at_line(path, max(n + len(found), 1), lines.line_num)
                msg = f"{place}: unreadable ({error}); is a quote left open, or not doubled?"
                raise TableError(msg) from error
            finally:
                csv.field_size_limit(bound)
        if not found:
            return
        n += len(found)
        yield from found


def _between_tabs(path: Path, texts: Texts) -> Callable[[], Iterator[_Line]]:
    """Lines with tabs. Quotes hold lines and tabs together, as in a file of Excel, or they are plain characters.

    They are those of CSV if the header is quoted, or if only then all rows are complete. Otherwise each line is a row.
    The quotes around a field are then taken off, if each field that has quotes is quoted as a whole.

    Raises:
        TableError: There is one column, so nothing tells whether quotes hold lines together.
    """

    def plain() -> Iterator[_Line]:
        numbered = enumerate(map(_unended, texts()), start=1)
        return (_Line(number, line.split("\t")) for number, line in numbered if line)

    def quoted() -> Iterator[_Line]:
        return _quoted(path, texts, "\t")

    def unquoted() -> Iterator[_Line]:
        return (_Line(line.number, map(_unquoted, line)) for line in plain())

    if not any('"' in line for line in texts()):
        return plain
    header = next(plain())
    is_complete = _width(plain()) is not None
    if all(map(_is_quoted, header)):
        return quoted
    if not is_complete or len(header) == 1:
        try:
            is_quoted = _width(quoted()) is not None
        except TableError:
            is_quoted = False
        if not is_quoted:
            return plain
        if not is_complete:
            return quoted
        if sum(1 for _ in quoted()) != sum(1 for _ in plain()):
            msg = (
                f"{path}: got quotes that may hold several lines together, or may be plain characters; quote the "
                "header too if they hold lines together, or else write the file as .jsonl"
            )
            raise TableError(msg)
    if all(_is_quoted(field) for line in plain() for field in line if '"' in field):
        return unquoted
    return plain


def _unended(line: str) -> str:
    """A line without what ends it."""
    return line.removesuffix("\n").removesuffix("\r")


def _is_quoted(field: str) -> bool:
    """Whether a field is quoted as a whole, with the quotes inside it doubled."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if '"' in field else field
