"""Read logged answers of a large model as a chain would. Each is exactly one label, or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException

from dsplus_chains.gating.replaying import RecordedAnswer
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import DSPlusError, is_missing, label_reader


class NoRecordedAnswerError(DSPlusError):
    """Nothing was logged for a row."""


def read_recorded(cells: Sequence[Any], parser: LabelParser, *, where: str = "") -> list[RecordedAnswer]:
    """Logged answers, one a row.

    Args:
        cells: What was logged. A label counts as it is written. Anything else is read as the large model's words.
        parser: Parser that reads the words.
        where: Where the cells stood, such as "column 'gpt'". The reason of a row without an answer names it.

    Example:
        >>> parser = LabelParser(labels=["spam", "ham"])
        >>> [answer.value for answer in read_recorded(["spam", "It is ham.", None], parser)]
        ['spam', 'ham', None]
    """
    read, answers = label_reader(parser.labels), []
    for row, cell in enumerate(cells, start=1):
        if is_missing(cell):
            place = f"{where} is empty in row {row}" if where else f"there is none in row {row}"
            answers.append(RecordedAnswer(value=None, error=NoRecordedAnswerError(place)))
            continue
        value, error = read(cell), None
        if value is None:
            try:
                value = parser.parse(cell)
            except OutputParserException as unread:
                error = unread
        answers.append(RecordedAnswer(value=value, error=error))
    return answers
