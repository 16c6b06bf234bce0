"""Decisions and labelled rows in all forms in which a user has them, and their answers as labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.exceptions import OutputParserException

from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.learning.experience import Experience, hash_of_input, read_text
from dsplus_chains.learning.experience_store import ExperienceStore
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    TrainingDataError,
    TrainingDataWarning,
    as_cell,
    brief,
    clean_labels,
    column_of,
    is_missing,
    label_key,
    shown,
    what_came,
)


def decisions_in(
    source: Any, *, text: str = "text", answer: str = "answer", modality: Modality = "text"
) -> list[Experience]:
    """The decisions in a store, in logs, in a data frame, or in what is a list of them already, oldest first.

    Args:
        source: An `ExperienceStore`, `Logs`, a data frame, or decisions.
        text: Column of the texts, for a data frame.
        answer: Column of the answers, for a data frame.
        modality: What the texts of logs or of a data frame are.

    Raises:
        TrainingDataError: A data frame has no such column.
        InvalidInputError: It is none of these, or its columns differ in length. Or there is no image where one is
            expected, or no text.

    Example:
        >>> [row.large for row in decisions_in({"text": ["a", "b"], "answer": ["x", "y"]})]
        ['x', 'y']
    """
    if isinstance(source, ExperienceStore):
        return list(source.rows())
    if (columns := _columns_of(source)) is not None:
        for name in (text, answer):
            if name not in columns:
                msg = f"Got no column {name!r} but expected the columns that text= and answer= name"
                raise TrainingDataError(msg)
        texts, answers = column_of(source[text], text), column_of(source[answer], answer)
        if len(texts) != len(answers):
            msg = f"Got {len(texts)} texts and {len(answers)} answers but expected as many of each"
            raise InvalidInputError(msg)
        confidences: Sequence[float | None] = [None] * len(texts)
        times = confidences
    elif hasattr(source, "answers"):
        texts, answers, confidences, times = source.texts, source.answers, source.confidences, source.times
    else:
        return _listed(source)
    read = read_image if modality == "image" else read_text
    texts = [None if is_missing(one) else read(one) for one in texts]
    rows = [
        Experience(text=one, text_hash=hash_of_input(one), large=said, large_confidence=sure, time=when or 0.0)
        for one, said, sure, when in zip(texts, map(as_cell, answers), confidences, times, strict=True)
        if one is not None
    ]
    return rows if None in times else sorted(rows, key=lambda row: row.time)  # exports may begin with the newest


def _columns_of(table: Any) -> Any:
    """What holds the names of a table's columns. None if it is no table."""
    if hasattr(table, "column_names"):  # of pyarrow, and of Hugging Face's datasets
        return table.column_names
    return table if hasattr(table, "columns") or isinstance(table, Mapping) else None


def _listed(source: Any) -> list[Experience]:
    """Decisions that are a list already.

    Raises:
        InvalidInputError: Something else came.
    """
    rows: list[Any] = [source] if isinstance(source, (str, bytes)) or not isinstance(source, Iterable) else list(source)
    if strange := [row for row in rows if not isinstance(row, Experience)]:
        msg = (
            f"Got {what_came(strange[0])} for the decisions but expected an ExperienceStore, what read_logs returned, "
            "a data frame, or a list of Experience. ExperienceStore(path) opens a file, and read_logs(path) reads a log"
        )
        raise InvalidInputError(msg)
    return rows


def labelled_in(gold: Any) -> tuple[list[Any], list[Any]]:
    """Labelled texts and their labels, as two columns.

    Args:
        gold: A pair of columns, or a data frame with the columns "text" and "label".

    Raises:
        TrainingDataError: It is neither.
        InvalidInputError: A label is missing, or types are mixed.

    Example:
        >>> labelled_in({"text": ["a"], "label": ["x"]}), labelled_in((["a"], ["x"]))
        ((['a'], ['x']), (['a'], ['x']))
    """
    if (columns := _columns_of(gold)) is not None:
        gold = [gold[name] for name in ("text", "label") if name in columns]
    if not isinstance(gold, (tuple, list)) or len(gold) != 2 or len(gold[0]) != len(gold[1]):
        msg = 'Got no labelled texts but expected (texts, labels) of one length, or the columns "text" and "label"'
        raise TrainingDataError(msg)
    return list(column_of(gold[0], "texts")), clean_labels(gold[1])


def answers_read(rows: Sequence[Experience], parser: LabelParser) -> list[Experience]:
    """Decisions with the large model's answers as labels, as a chain reads them. One that is none counts as no answer.

    So a later answer that is none does not take the place of an earlier label. How many there are is told in a warning.

    Args:
        rows: The decisions.
        parser: The parser of the chain.

    Example:
        >>> rows = decisions_in({"text": ["a", "b"], "answer": ["Spam.", "ham"]})
        >>> [row.large for row in answers_read(rows, LabelParser(labels=["spam", "ham"]))]
        ['spam', 'ham']
    """
    exact = {label_key(label): label for label in parser.labels}
    known: dict[str, Any] = {}  # many rows have the same answer

    def read(answer: Any) -> Any:
        if isinstance(answer, (str, int)) and label_key(answer) in exact:
            return answer
        if not isinstance(answer, str):
            return _label_in(answer, parser)
        if answer not in known:
            known[answer] = _label_in(answer, parser)
        return known[answer]

    found = [row if row.large is None else replace(row, large=read(row.large)) for row in rows]
    if strange := [
        row.large for row, told in zip(rows, found, strict=True) if row.large is not None and told.large is None
    ]:
        n = sum(row.large is not None for row in rows)
        msg = (
            f"Got {len(strange)} of {n} answers that are none of the labels {brief(list(parser.labels))}, such as "
            f"{shown(strange[0])}. They count as no answer"
        )
        warnings.warn(msg, TrainingDataWarning, stacklevel=3)
    return found


def _label_in(answer: Any, parser: LabelParser) -> Any:
    """The label that an answer is, None if it is none."""
    try:
        return parser.parse(answer)
    except OutputParserException:
        return None
