"""Read logged answers of a large model as a chain would. Each is exactly one label, or a failure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from dsplus_chains.gating.replaying import RecordedAnswer
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import DSPlusError, LargeAnswer, answer_of_large, is_missing, is_record, label_reader


class NoRecordedAnswerError(DSPlusError):
    """Nothing was logged for a row."""


def read_recorded(
    cells: Sequence[Any], parser: LabelParser, *, where: str = "", numbers: Iterable[int] | None = None
) -> list[RecordedAnswer]:
    """Logged answers, one a row.

    Args:
        cells: What was logged. A label counts as it is written. Anything else is read as the large model's answer: a
            text, a message, a JSON object, an object of a schema. An error in a cell is the error of its row. Of a
            record, what the large model said counts.
        parser: Parser that reads the answers.
        where: Where the cells stood, such as "column 'gpt'". The reason of a row without an answer names it.
        numbers: The number of each cell's row, for the same reason. None counts from 1.

    Example:
        >>> parser = LabelParser(labels=["spam", "ham"])
        >>> [answer.value for answer in read_recorded(["spam", "It is ham.", None], parser)]
        ['spam', 'ham', None]
    """
    said = [_said(cell) for cell in cells]
    read = label_reader(parser.labels)
    found: list[Any] = [None if isinstance(cell, Exception) else read(cell) for cell in said]
    unread = [
        row
        for row, cell in enumerate(said)
        if found[row] is None and not is_missing(cell) and not isinstance(cell, Exception)
    ]
    for row, value in zip(unread, parser.batch([said[row] for row in unread], return_exceptions=True), strict=True):
        found[row] = value
    answers = []
    for row, cell, value in zip(count(1) if numbers is None else numbers, said, found, strict=False):
        error = next((each for each in (cell, value) if isinstance(each, Exception)), None)
        if error is None and value is None:
            error = NoRecordedAnswerError(f"{where} is empty in row {row}" if where else f"there is none in row {row}")
        answers.append(RecordedAnswer(value=None if error else value, error=error))
    return answers


def _said(cell: Any) -> Any:
    """What the large model said in a cell, which may hold a record of it."""
    if not isinstance(cell, LargeAnswer) and is_record(cell):
        cell = cell.get("large") or answer_of_large(cell)
    return cell.value if isinstance(cell, LargeAnswer) else cell
