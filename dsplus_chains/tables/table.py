"""`Table`: rows, and checks of their columns. An error about a cell names its file, row and column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dsplus_chains.schema import DSPlusError, brief_repr, is_missing, is_sound, label_reader, shown

Row: TypeAlias = Mapping[str, Any]

_INTEGER = re.compile(r"-?(0|[1-9]\d*)")


class TableError(DSPlusError, ValueError):
    """A file is no table, or a cell of it is not what was expected."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a file.

    Args:
        path: The file.
        columns: The names of its columns, in order.
        rows: Its rows, each a dict by column. Cells of CSV and TSV are strings. Other cells have their own type.
        typed: Whether cells have their own type.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    typed: bool

    def texts(self, column: str, *, empty: Literal["refuse", "keep"] = "refuse") -> list[str]:
        """The texts in a column.

        Raises:
            TableError: There is no such column, or a cell is empty or holds no text.
        """
        self._check_column(column)
        texts = []
        for number, row in enumerate(self.rows, start=1):
            text = row.get(column)
            if empty == "keep" and is_missing(text):
                texts.append("")
                continue
            if not isinstance(text, str) or not text.strip():
                got = "an empty cell" if is_missing(text) else f"{shown(text)} ({type(text).__name__})"
                raise self._error(number, column, f"got {got} but expected a text; fix or drop the row")
            if not is_sound(text):
                raise self._error(number, column, "got half a surrogate pair, which is no text; fix or drop the row")
            texts.append(text)
        return texts

    def labels(self, column: str, *, known: Sequence[Any] | None = None) -> list[Any]:
        """The labels in a column.

        A file of strings does not tell types. With `known`, a cell means the known label that is written like it.
        Without `known`, the labels are integers if every cell is one (``7``, not ``007`` or ``7.0``). Otherwise they
        are strings. White space around a cell is no part of a label.

        Args:
            column: The column.
            known: The known labels. None if no labels are known yet.

        Raises:
            TableError: There is no such column, or a cell holds no label or an unknown one.
        """
        self._check_column(column)
        cells = [row.get(column) for row in self.rows]
        for number, cell in enumerate(cells, start=1):
            if is_missing(cell):
                raise self._error(number, column, "got an empty cell but expected a label; fix or drop the row")
        if known is None:
            return self._first_labels(column, cells)
        read, labels = label_reader(known), []
        for number, cell in enumerate(cells, start=1):
            label = read(cell)
            if label is None:
                names = ", ".join(shown(name) for name in known[:5]) + (", …" if len(known) > 5 else "")
                wrong = f"got the label {shown(cell)}, unseen in training; expected one of {len(known)}: {names}"
                raise self._error(number, column, wrong)
            labels.append(label)
        return labels

    def cells(self, column: str) -> list[Any]:
        """The cells of a column, None where one is empty.

        Raises:
            TableError: There is no such column.
        """
        self._check_column(column)
        return [None if is_missing(cell := row.get(column)) else cell for row in self.rows]

    def _first_labels(self, column: str, cells: Sequence[Any]) -> list[Any]:
        if not self.typed:
            texts = [cell.strip() for cell in cells]
            return [int(text) for text in texts] if all(map(_INTEGER.fullmatch, texts)) else texts
        labels = [int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in cells]
        for number, label in enumerate(labels, start=1):
            if not isinstance(label, (str, int)) or type(label) is not type(labels[0]):
                got = f"got {shown(label)} ({type(label).__name__})"
                wrong = f"{got} but expected strings, integers or booleans, one type for all labels"
                raise self._error(number, column, wrong)
        return labels

    def _check_column(self, column: str) -> None:
        if column not in self.columns:
            names = ", ".join(shown(name) for name in self.columns[:12])
            msg = f"{self.path}: got no column {column!r}; its columns are {names}"
            raise TableError(msg)

    def _error(self, number: int, column: str, wrong: str) -> TableError:
        return TableError(f"{self.path}, row {number}, column {column!r}: {wrong}")
