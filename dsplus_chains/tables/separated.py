"""Reads CSV and TSV from a text."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dsplus_chains.running.forking import ForkLock
from dsplus_chains.tables.decoding import LINE_END
from dsplus_chains.tables.delimiters import DELIMITERS, name_of
from dsplus_chains.tables.grid import filled_lines, from_grid
from dsplus_chains.tables.table import Row
from dsplus_chains.tables.table_error import TableError, at_line

_LIMIT = ForkLock()
_MOST_CHARACTERS = 2**31 - 1  # of one field; a long document exceeds the csv module's own bound of 131,072
_HEADER = 100_000
"""So many characters of a file are searched for its first line."""
_TOLD = re.compile(r"sep=(.)(?:\r\n|\n|\r)")
"""The first line by which Excel says what separates the fields."""


class _Line(NamedTuple):
    number: int
    fields: list[str]


def read_separated(path: Path, text: str, *, delimiter: str | None, usual: str) -> tuple[list[str], list[Row]]:
    """The columns and the rows of a text with separated fields.

    Quotes are those of CSV: a quoted field may hold delimiters, line ends, and doubled quotes. Between tabs, quotes may
    also be plain characters, as files of that kind often have them. See `_between_tabs`.

    Args:
        path: The file, for errors.
        text: Its text.
        delimiter: What separates the fields. None takes what Excel's first line says, or else the usual one. If the
            header has none of it, another one is taken, if all rows then have as many fields as the header.
        usual: The usual delimiter of this kind of file.

    Raises:
        TableError: A row is unreadable, or has another number of fields than the header.
    """
    told = _TOLD.match(text)
    if told is not None:
        text = "\n" + text[told.end() :]
    given = delimiter or (told[1] if told is not None else None)
    chosen = given or _delimiter_of(path, text, usual)
    try:
        return _table(path, _lines(path, text, chosen))
    except TableError as error:
        other = next((each for each in DELIMITERS if each != chosen and _fits(path, text, each)), None)
        if other is None:
            raise
        msg = f"{error} With {other!r} between the fields, all rows would be complete (--delimiter {name_of(other)})."
        raise TableError(msg) from error


def _delimiter_of(path: Path, text: str, usual: str) -> str:
    """The usual delimiter, or the only other one that the header has and that makes all rows complete."""
    header = next((line for line in LINE_END.split(text[:_HEADER]) if line), "")
    others = [each for each in DELIMITERS if usual not in header and each in header and _fits(path, text, each)]
    return others[0] if len(others) == 1 else usual


def _fits(path: Path, text: str, delimiter: str) -> bool:
    """Whether all rows have as many fields as the header, which has at least two."""
    try:
        lines = _without_blank_end(_lines(path, text, delimiter))
    except TableError:
        return False
    return len(lines) > 1 and len(lines[0].fields) > 1 and len({len(line.fields) for line in lines}) == 1


def _table(path: Path, lines: list[_Line]) -> tuple[list[str], list[Row]]:
    lines = _without_blank_end(lines)
    if not lines:
        return [], []
    header, *body = lines
    for row, line in enumerate(body, start=1):
        got, width = len(line.fields), len(header.fields)
        if got != width:
            where = f", column {header.fields[got].strip()!r}" if got < width else ""
            wrong = f"got {got} fields but expected {width}, as in the header; are quotes missing?"
            msg = f"{at_line(path, row, line.number)}{where}: {wrong}"
            raise TableError(msg)
    return from_grid(path, header.fields, [line.fields for line in body])


def _without_blank_end(lines: list[_Line]) -> list[_Line]:
    return lines[: filled_lines([line.fields for line in lines])]


def _lines(path: Path, text: str, delimiter: str) -> list[_Line]:
    """The lines with something in them, the header first. A space behind each delimiter of the header is no text."""
    if delimiter == "\t":
        return _between_tabs(path, text)
    header = _quoted(path, text, delimiter, most=1)
    spaced = bool(header) and len(header[0].fields) > 1 and all(name[:1] == " " for name in header[0].fields[1:])
    return _quoted(path, text, delimiter, spaced=spaced)


def _quoted(path: Path, text: str, delimiter: str, *, spaced: bool = False, most: int | None = None) -> list[_Line]:
    """Lines with CSV's quotes. At most so many with something in them, if that is said."""
    # Strict, since otherwise a quote that is never closed makes one cell of the rest of the file.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    found: list[_Line] = []
    with _LIMIT:  # the bound is one for the whole process
        bound = csv.field_size_limit(_MOST_CHARACTERS)
        try:
            found.extend(islice((_Line(lines.line_num, line) for line in lines if line), most))
        except csv.Error as error:
            place = at_line(path, max(len(found), 1), lines.line_num)
            msg = f"{place}: unreadable ({error}); is a quote left open, or not doubled?"
            raise TableError(msg) from error
        finally:
            csv.field_size_limit(bound)
    return found


def _between_tabs(path: Path, text: str) -> list[_Line]:
    """Lines with tabs. Quotes hold lines and tabs together, as in a file of Excel, or they are plain characters.

    They are those of CSV if the header is quoted, or if only then all rows are complete. Otherwise each line is a row.
    The quotes around a field are then taken off, if each field that has quotes is quoted as a whole.

    Raises:
        TableError: There is one column, so nothing tells whether quotes hold lines together.
    """
    plain = [_Line(number, line.split("\t")) for number, line in enumerate(LINE_END.split(text), start=1) if line]
    if not plain or '"' not in text:
        return plain
    width = len(plain[0].fields)
    is_complete = all(len(line.fields) == width for line in _without_blank_end(plain))
    if all(map(_is_quoted, plain[0].fields)):
        return _quoted(path, text, "\t")
    if not is_complete or width == 1:
        try:
            quoted = _quoted(path, text, "\t")
        except TableError:
            quoted = []
        if not quoted or any(len(line.fields) != len(quoted[0].fields) for line in _without_blank_end(quoted)):
            return plain
        if not is_complete:
            return quoted
        if len(quoted) != len(plain):
            msg = (
                f"{path}: got quotes that may hold several lines together, or may be plain characters; quote the "
                "header too if they hold lines together, or else write the file as .jsonl"
            )
            raise TableError(msg)
    if all(_is_quoted(field) for line in plain for field in line.fields if '"' in field):
        return [_Line(line.number, [_unquoted(field) for field in line.fields]) for line in plain]
    return plain


def _is_quoted(field: str) -> bool:
    """Whether a field is quoted as a whole, with the quotes inside it doubled."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if '"' in field else field
