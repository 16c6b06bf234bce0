"""`Table`: rows, and checks of their columns. An error about a cell names its file, row and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.prompting.alike import labels_alike
from dsplus_chains.schema import (
    ImageInput,
    InvalidInputError,
    TextPair,
    as_cell,
    brief_repr,
    check_choice,
    each_once,
    is_missing,
    is_one_line,
    is_sound,
    label_reader,
    shown,
    spelling,
    what_came,
)
from dsplus_chains.tables.delimiters import delimiter_hint
from dsplus_chains.tables.file_rows import Row, Rows
from dsplus_chains.tables.table_error import TableError

Column: TypeAlias = str | tuple[str, str]
"""The column that is read, or the two columns that hold the texts of pairs."""

_A = {"text": "a text", "image": "the path of an image"}
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")


def columns_of(column: Column) -> tuple[str, ...]:
    """The names of the columns that are read.

    Example:
        >>> columns_of("text"), columns_of(("question", "document"))
        (('text',), ('question', 'document'))
    """
    return (column,) if isinstance(column, str) else column


def check_column_names(text: Any) -> None:
    """Refuse what names neither a column nor two.

    Raises:
        InvalidInputError: This is the case.
    """
    names = (text,) if isinstance(text, str) else text
    are_two = isinstance(text, (tuple, list)) and len(text) == 2
    if not (isinstance(text, str) or are_two) or not all(isinstance(name, str) for name in names):
        msg = f"Got text={what_came(text)} but expected the name of a column, or a tuple of two for pairs of texts"
        raise InvalidInputError(msg)


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a file.

    Args:
        path: The file.
        columns: The names of its columns, in order.
        rows: Its rows, each a dict by column. Cells of CSV and TSV are strings. Other cells have their own type. Rows
            of `open_table` stay in the file.
        typed: Whether cells have their own type.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Rows
    typed: bool

    def texts(
        self, column: Column, *, empty: Literal["refuse", "keep"] = "refuse", modality: Modality = "text"
    ) -> list[str]:
        """The texts in a column, or the images whose paths are there, relative to the table. Two columns hold pairs.

        An empty cell can be kept as an empty text, but stands for no image.

        Raises:
            TableError: There is no such column, or a cell is empty or holds no text, or no image.
        """
        return list(self.each_text(column, empty=empty, modality=modality))

    def each_text(
        self, column: Column, *, empty: Literal["refuse", "keep"] = "refuse", modality: Modality = "text"
    ) -> Iterator[str]:
        """The texts in a column, one at a time. See `texts`."""
        self.check_columns(column)
        for number, row in enumerate(self.rows, start=1):
            yield self.text_of(number, row, column, empty=empty, modality=modality)

    def text_of(
        self,
        number: int,
        row: Row,
        column: Column,
        *,
        empty: Literal["refuse", "keep"] = "refuse",
        modality: Modality = "text",
    ) -> str:
        """The text in one row, which has this number. See `texts`."""
        check_choice("empty", empty, ("refuse", "keep"))
        check_choice("modality", modality, get_args(Modality))
        if not isinstance(column, str):
            first, second = (self.text_of(number, row, name, empty=empty) for name in column)
            return TextPair(first, second)
        text = row.get(column)
        if empty == "keep" and is_missing(text) and modality == "text":
            return ""
        if is_missing(text):
            raise self._error(number, column, f"got an empty cell but expected {_A[modality]}; fix or drop the row")
        if modality == "image":
            return self._image_of(number, column, text)
        if not isinstance(text, str):
            got = f"{shown(text)} ({type(text).__name__})"
            raise self._error(number, column, f"got {got} but expected a text; fix or drop the row")
        if not is_sound(text):
            raise self._error(number, column, "got half a surrogate pair, which is no text; fix or drop the row")
        return text

    def _image_of(self, number: int, column: str, cell: Any) -> ImageInput:
        try:
            return read_image(cell, beside=self.path.parent)
        except InvalidInputError as error:
            raise self._error(number, column, f"{error}; fix or drop the row") from error

    def labels(self, column: str, *, known: Sequence[Any] | None = None) -> list[Any]:
        """The labels in a column.

        A file of strings does not tell types. With `known`, a cell means the known label that is written like it.
        Without `known`, the labels are integers if every cell is one (``7``, not ``007`` or ``7.0``). Otherwise they
        are strings. White space around a cell is no part of a label. In a file that tells types, 7.0 is 7, because a
        column of integers with a gap holds such numbers.

        Args:
            column: The column.
            known: The known labels. None if no labels are known yet.

        Raises:
            TableError: There is no such column, or a cell holds no label or an unknown one.
        """
        cells = self.cells(column)
        for number, cell in enumerate(cells, start=1):
            if cell is None:
                raise self._error(number, column, "got an empty cell but expected a label; fix or drop the row")
        if known is None:
            return self._first_labels(column, cells)
        read = label_reader(known)
        labels = [read(cell) for cell in cells]
        if None in labels:
            number = labels.index(None)
            raise self._error(number + 1, column, _unseen(cells[number], known))
        return labels

    def cells(self, column: str) -> list[Any]:
        """The cells of a column, None where one is empty.

        Raises:
            TableError: There is no such column.
        """
        self.check_column(column)
        return [as_cell(row.get(column)) for row in self.rows]

    def check_columns(self, column: Column) -> None:
        """Refuse a column, or one of two, that the table does not have.

        Raises:
            TableError: There is no such column.
        """
        for name in columns_of(column):
            self.check_column(name)

    def check_column(self, column: str) -> None:
        """Refuse a column that the table does not have.

        Raises:
            TableError: There is no such column.
        """
        if column not in self.columns:
            names = ", ".join(shown(name) for name in self.columns[:12])
            msg = f"{self.path}: got no column {column!r}; its columns are {names}{delimiter_hint(self.columns)}"
            raise TableError(msg)

    def _first_labels(self, column: str, cells: Sequence[Any]) -> list[Any]:
        labels = [spelling(cell) if isinstance(cell, str) else cell for cell in cells]
        if not self.typed and all(map(_INTEGER.fullmatch, labels)):
            labels = [int(text) for text in labels]
        for number, label in enumerate(labels, start=1):
            if not isinstance(label, (str, int)) or type(label) is not type(labels[0]):
                got = f"got {shown(label)} ({type(label).__name__})"
                wrong = f"{got} but expected strings, integers or booleans, one type for all labels"
                raise self._error(number, column, wrong)
        for label in each_once(labels):
            if isinstance(label, str) and not is_one_line(label):
                wrong = f"got the label {shown(label)} but expected one line without control characters"
                raise self._error(labels.index(label) + 1, column, wrong)
        return labels

    def _error(self, number: int, column: str, wrong: str) -> TableError:
        return TableError(f"{self.path}, row {number}, column {column!r}: {wrong}")


def _unseen(cell: Any, known: Sequence[Any]) -> str:
    """What is wrong with a cell that is no known label."""
    names = ", ".join(shown(name) for name in known[:5]) + (", …" if len(known) > 5 else "")
    alike = next((name for name in known if labels_alike([name, str(cell)])), None)
    hint = "" if alike is None else f"; it reads like {shown(alike)}, so spell it like that"
    return f"got the label {shown(cell)}, unseen in training; expected one of {len(known)}: {names}{hint}"
