"""Reads a file as lines of text. An encoding is never guessed: a mark or the user says it, or it is UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from dsplus_chains.tables.table_error import TableError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
"""Byte order marks, and the encodings that they stand for."""

_NEED_A_MARK = {"utf-16", "utf-32"}
"""Encodings of which a mark tells the order of the bytes."""

_PIECE = 2**20
"""Bytes that are searched at a time for those that are no text."""


def check_encoding(name: str) -> str:
    """The name of an encoding of text, as Python spells it.

    Raises:
        TableError: There is no such encoding.

    Example:
        >>> check_encoding("latin-1"), check_encoding("UTF8")
        ('iso8859-1', 'utf-8')
    """
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        msg = f"Got encoding={name!r} but expected the name of an encoding, such as utf-8, cp1252 or utf-16"
        raise TableError(msg) from error


def lines_of(path: Path, encoding: str | None) -> Iterator[str]:
    r"""The lines of a file, one at a time, each with what ends it: ``\n``, ``\r\n`` or ``\r``. A mark is no text.

    Args:
        path: The file.
        encoding: Its encoding. None takes the one that a byte order mark says, or else UTF-8.

    Raises:
        TableError: The bytes are no text in this encoding.
    """
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if encoding is None:
        name = marked or "utf-8"
    else:
        name = check_encoding(encoding)
        if marked is not None and not name.startswith(marked.removesuffix("-sig")):
            msg = f"{path}: got encoding={encoding!r} but the file begins with the mark of {marked}; leave it out"
            raise TableError(msg)
    if marked is None and encoding is None and (wide := _wide(start, path.stat().st_size)) is not None:
        msg = f"{path}: got what looks like {wide} without a mark; give its encoding (--encoding {wide})"
        raise TableError(msg)
    with path.open(encoding=name, newline="") as lines:
        try:
            yield next(lines, "").removeprefix("\ufeff")
            yield from lines
        except UnicodeError as error:
            line, reason = _first_fault(path, name) or (1, str(error))
            shown = "UTF-8" if name == "utf-8" else name
            advice = "save the file as UTF-8, or give its encoding"
            if name in _NEED_A_MARK and marked is None:
                advice = f"it begins with no mark, so say {_wide(start, path.stat().st_size) or f'{name}-le'}, "
                advice += "or leave the encoding out for UTF-8"
            elif encoding is None and marked is None:
                advice += ", which is cp1252 for most files of Excel on Windows (--encoding cp1252)"
            msg = f"{path}, line {line}: got bytes that are no {shown} ({reason}); {advice}"
            raise TableError(msg) from error


def _first_fault(path: Path, name: str) -> tuple[int, str] | None:
    """The line of the first bytes that are no text, and why they are none."""
    decoder = codecs.getincrementaldecoder(name)()
    line = 1
    with path.open("rb") as file:
        for packed in chain(iter(partial(file.read, _PIECE), b""), [b""]):
            waiting = decoder.getstate()[0]
            try:
                decoder.decode(packed, final=not packed)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].count(b"\n")
                return line - waiting.count(b"\n") + before, error.reason
            except UnicodeError as error:
                return line, str(error)
            line += packed.count(b"\n")
    return None


def _wide(start: bytes, size: int) -> str | None:
    """The encoding of two bytes a character that a text without a mark seems to have. A header begins in ASCII."""
    if len(start) < 4 or size % 2:
        return None
    if start[0] and start[2] and not start[1] and not start[3]:
        return "utf-16-le"
    return "utf-16-be" if start[1] and start[3] and not start[0] and not start[2] else None
