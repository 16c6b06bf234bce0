"""Turns the bytes of a file into text. An encoding is never guessed: a mark or the user says it, or it is UTF-8."""

from __future__ import annotations

import codecs
import re
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

LINE_END = re.compile(r"\r\n|\n|\r")
"""What ends a line of a text file."""


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


def decode(path: Path, packed: bytes, encoding: str | None) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: The file, for errors.
        packed: Its bytes.
        encoding: Its encoding. None takes the one that a byte order mark says, or else UTF-8.

    Raises:
        TableError: The bytes are no text in this encoding.
    """
    marked = next((name for mark, name in _MARKS if packed.startswith(mark)), None)
    if encoding is None:
        name = marked or "utf-8"
    else:
        name = check_encoding(encoding)
        if marked is not None and not name.startswith(marked.removesuffix("-sig")):
            msg = f"{path}: got encoding={encoding!r} but the file begins with the mark of {marked}; leave it out"
            raise TableError(msg)
    if marked is None and encoding is None and (wide := _wide(packed)) is not None:
        msg = f"{path}: got what looks like {wide} without a mark; give its encoding (--encoding {wide})"
        raise TableError(msg)
    try:
        return packed.decode(name).removeprefix("\ufeff")
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        line = packed[:start].count(b"\n") + 1
        shown = "UTF-8" if name == "utf-8" else name
        advice = "save the file as UTF-8, or give its encoding"
        if encoding is None and marked is None:
            advice += ", which is cp1252 for most files of Excel on Windows (--encoding cp1252)"
        msg = f"{path}, line {line}: got bytes that are no {shown} ({reason}); {advice}"
        raise TableError(msg) from error


def _wide(packed: bytes) -> str | None:
    """The encoding of two bytes a character that a text without a mark seems to have. A header begins in ASCII."""
    if len(packed) < 4 or len(packed) % 2:
        return None
    if packed[0] and packed[2] and not packed[1] and not packed[3]:
        return "utf-16-le"
    return "utf-16-be" if packed[1] and packed[3] and not packed[0] and not packed[2] else None
