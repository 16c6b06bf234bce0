"""Read a column of answers, which may be an app's raw output, and count what is no label."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.evaluation.answers import check_types
from dsplus_chains.evaluation.recorded import read_recorded
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    LabelWarning,
    Prediction,
    clean_answers,
    each_once,
    label_key,
    shown,
)

_PLAIN = (str, int, float)


@dataclass(frozen=True, kw_only=True)
class ReadAnswers:
    """Answers as labels.

    Args:
        what: Name of the column.
        values: The answers, one a row. None where there is none, or none that could be read.
        unread: Numbers of the rows with an answer that could not be read. It counts as no answer.
        strange: Numbers of the rows with an answer that is no label, and stands as it is. It is wrong.
        example: One of these answers.
    """

    what: str
    values: list[Any]
    unread: tuple[int, ...] = ()
    strange: tuple[int, ...] = ()
    example: Any = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the answers, in sentences."""
        n, such = len(self.values), f"such as {shown(self.example)}"
        if self.unread:
            return (f"{len(self.unread)} of {n} {self.what} could not be read as a label, {such}: no answer",)
        return (f"{len(self.strange)} of {n} {self.what} are no label, {such}: wrong",) if self.strange else ()


def read_answers(
    values: Any,
    *,
    labels: Sequence[Any],
    predictions: Sequence[Prediction],
    parser: LabelParser | None = None,
    what: str = "large answers",
) -> ReadAnswers:
    """Read a column of answers, as a chain would.

    A label stands as it is. The parser reads anything else, if one is given. Without one, the column may still be the
    raw output of an app. It is raw if it holds a message, or an answer that has to be read before it is a label. The
    labels are then those of the rows and of the predictions. In a column that is not raw, an answer that is no label
    stands as it is.

    Args:
        values: The column. It may hold texts, messages, JSON objects, objects of a schema, and errors.
        labels: The true labels.
        predictions: The small model's predictions.
        parser: Parser of the answers, such as a task's own.
        what: Name of the column, for notes and errors.

    Raises:
        InvalidInputError: There is no parser, and not one answer is a label as it stands, though some can be read. Or
            none has the labels' type. It may be the wrong column.

    Example:
        >>> sure = Prediction(label="ham", confidence=0.9)
        >>> read = read_answers(["spam", "Ham.", None, "ham"], labels=["ham", "spam"] * 2, predictions=[sure] * 4)
        >>> read.values, read.unread
        (['spam', 'ham', None, 'ham'], ())
    """
    cells = clean_answers(values, what)
    known = _known(labels, predictions)
    keys = set(map(label_key, known))
    given = [row for row, cell in enumerate(cells) if cell is not None]
    others = [row for row in given if not isinstance(cells[row], (str, int)) or label_key(cells[row]) not in keys]
    if not others:
        return ReadAnswers(what=what, values=cells)
    is_raw = parser is not None or any(isinstance(cells[row], BaseMessage) for row in others)
    # Plain values of which none is a label may be the wrong column, or of the wrong type.
    doubtful = not is_raw and len(others) == len(given) and all(isinstance(cells[row], _PLAIN) for row in given)
    if doubtful:
        check_types(cells, labels, what=what)
    if parser is None:
        if len({type(label) for label in known}) > 1:
            return ReadAnswers(what=what, values=cells)  # the comparison of predictions and labels says what is wrong
        parser = LabelParser(labels=known)
    read = dict(zip(others, read_recorded([cells[row] for row in others], parser), strict=True))
    readable = next((row for row in others if read[row].value is not None), None)
    if doubtful and readable is not None:
        such = f"such as {shown(cells[readable])}, and none that is a label"
        msg = f"Got {what} {such}; read them with LabelParser first, or give parser=LabelParser(labels=[...])"
        raise InvalidInputError(msg)
    is_raw = is_raw or readable is not None
    values, wrong = list(cells), []
    for row in others:
        failed = isinstance(cells[row], Exception)
        if is_raw or failed:
            values[row] = read[row].value
        if not failed and read[row].value is None:
            wrong.append(row)
    found = ReadAnswers(
        what=what,
        values=values,
        unread=tuple(wrong if is_raw else ()),
        strange=tuple(() if is_raw else wrong),
        example=cells[wrong[0]] if wrong else None,
    )
    if found.unread:
        warnings.warn(f"Got {found.notes[0]}", LabelWarning, stacklevel=2)
    return found


def _known(labels: Sequence[Any], predictions: Sequence[Prediction]) -> tuple[Any, ...]:
    """Every label that a row has, or that a prediction names."""
    named = (label for row in predictions for label in (*(row.probabilities or ()), row.label))
    return each_once(label for label in (*labels, *named) if label is not None)
