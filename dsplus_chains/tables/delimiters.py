"""What separates the fields of a file, and how it is named on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from dsplus_chains.tables.table_error import TableError

DELIMITERS = (",", ";", "\t", "|")
"""What separates the fields of most files."""

_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


def check_delimiter(given: str) -> str:
    r"""What separates fields, as one character.

    Args:
        given: The character, or one of the names tab, comma, semicolon and pipe.

    Raises:
        TableError: It cannot separate fields.

    Example:
        >>> check_delimiter(";"), check_delimiter("tab")
        (';', '\t')
    """
    delimiter = _NAMES.get(given.lower(), given)
    is_blank = delimiter != "\t" and delimiter.isspace()
    if len(delimiter) == 1 and not delimiter.isalnum() and not is_blank and delimiter not in {'"', "\0"}:
        return delimiter
    msg = f"Got delimiter={given!r} but expected one character such as ',', ';' or '|', or the word tab"
    raise TableError(msg)


def delimiter_hint(columns: Sequence[str]) -> str:
    """What to say where a column is missing: the one column that there is may be several."""
    inside = [each for each in DELIMITERS if len(columns) == 1 and each in columns[0]]
    return f"; if {inside[0]!r} stands between the fields, say so (--delimiter {name_of(inside[0])})" if inside else ""


def name_of(delimiter: str) -> str:
    """A delimiter as it is typed after an option."""
    return next((name for name, each in _NAMES.items() if each == delimiter), repr(delimiter))
