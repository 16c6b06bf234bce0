"""`read_logs` reads what users have: inputs and answers of an app, as tables or as exports of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.integrations.app_text import USUAL_KEYS, NoText, text_reader
from dsplus_chains.integrations.dotted_path import at_path
from dsplus_chains.learning.batch_files import is_batch_file, joined
from dsplus_chains.learning.logged_cells import decoded, input_of, output_of, point_of_time
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    ImageInput,
    InvalidInputError,
    as_cell,
    brief_repr,
    check_choice,
    check_listed,
    describe_error,
    is_missing,
    is_sound,
    spelling,
)
from dsplus_chains.schema.prediction import as_confidence
from dsplus_chains.tables.file_rows import Row
from dsplus_chains.tables.reading import read_table
from dsplus_chains.tables.table import Table
from dsplus_chains.tables.table_error import TableError

LogFormat: TypeAlias = Literal["auto", "table", "langsmith", "langfuse", "openai_batch"]

_ANSWER_KEYS = ("answer", "output", "large", "large_answer", "label", "response")
_CONFIDENCE_KEYS = ("confidence", "large_confidence")
_TIME_KEYS = ("time", "start_time", "startTime", "timestamp", "created_at", "createdAt")
_PARENT_KEYS = ("parent_run_id", "parentObservationId", "parent_observation_id")
_INPUTS = {"langsmith": "inputs", "langfuse": "input", "openai_batch": "input"}
_OUTPUTS = {"langsmith": "outputs", "langfuse": "output", "openai_batch": "output"}


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Logs:
    """What an app was asked, and what it answered, one a row.

    Args:
        texts: The texts.
        answers: The answers, None where there is none.
        confidences: How sure the app's model was, where the log tells it as a number from 0 to 1.
        times: When it was asked, in seconds since 1970, where the log tells.
        skipped: Rows that were left out, and why.
    """

    texts: tuple[str, ...]
    answers: tuple[Any, ...]
    confidences: tuple[float | None, ...]
    times: tuple[float | None, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)


def read_logs(
    path: str | Path | Sequence[str | Path],
    *,
    text: str | Callable[[Any], Any] | None = None,
    answer: str | Callable[[Any], Any] | None = None,
    labels: Sequence[Any] | None = None,
    format: LogFormat = "auto",
    modality: Modality = "text",
) -> Logs:
    """Read inputs and answers of an app from files.

    Of a tree of runs only the outermost ones are read. A row whose text cannot be found is left out, and named in
    `skipped`.

    Args:
        path: A file, or several. OpenAI's batches need both of theirs.
        text: Where the text is. In a table it is a column. In the other formats it is a place in what the app was
            called with: a key, a path, a template or a function, as in `shunt`.
        answer: Where the answer is: a column, or a path or a function over the app's output.
        labels: The labels, by which answers are read as a chain reads them. Without them an answer stands as it is.
        format: "table" for CSV, JSONL, Parquet and the like, with a column each. "langsmith" for exported runs or
            examples. "langfuse" for exported traces or observations. "openai_batch" for batch files.
        modality: What the app was asked about. "image" is for a table with the paths of images, relative to the table.

    Raises:
        InvalidInputError: There is no such format, or the labels are one text.
        TableError: A file is unreadable, there is no such column, or no row holds a text. The error names the row. Or
            images are to be read, and the file is no table.

    Example:
        >>> logs = read_logs("answers.csv", text="review", answer="sentiment")  # doctest: +SKIP
        >>> store.add_gold(logs.texts, labels, large_answers=logs.answers)  # doctest: +SKIP
    """
    check_choice("format", format, get_args(LogFormat))
    check_choice("modality", modality, get_args(Modality))
    check_listed("labels", labels)
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    tables = [read_table(one) for one in paths]
    if not tables:
        msg = "Got no file but expected at least one"
        raise TableError(msg)
    kind = _kind_of(tables[0]) if format == "auto" else format
    if kind == "table":
        rows = [row for table in tables for row in _of_table(table, text, answer, modality)]
    elif modality == "image":
        msg = f"{tables[0].path}: got a log of the kind {kind!r} but expected a table with a column of paths of images"
        raise TableError(msg)
    else:
        rows = joined(tables) if kind == "openai_batch" else [row for table in tables for row in _outermost(table)]
        rows = [(place, _called(row, _INPUTS[kind], _OUTPUTS[kind])) for place, row in rows]
    read = _seen if modality == "image" else text_reader("auto" if text is None or kind == "table" else text)
    return _logs(rows, read, _answer_reader(None if kind == "table" else answer), labels)


def _seen(image: Callable[[], ImageInput]) -> ImageInput:
    """An image that a table names. It is read here, so that a row whose file is gone is left out."""
    return image()


def _kind_of(table: Table) -> LogFormat:
    """The format of a file, by its columns."""
    columns = set(table.columns)
    if is_batch_file(table):
        return "openai_batch"
    if {"inputs", "outputs"} <= columns:
        return "langsmith"
    if {"input", "output"} <= columns and columns & {"traceId", "trace_id", "sessionId", "observations", "startTime"}:
        return "langfuse"
    return "table"


def _of_table(table: Table, text: Any, answer: Any, modality: Modality) -> Iterable[tuple[str, Row]]:
    """The rows of a table that has a column for texts and one for answers."""
    for name, column in (("text", text), ("answer", answer)):
        if callable(column):
            msg = f"{table.path}: got {name}= as a function, but expected the name of a column of this table"
            raise TableError(msg)
    texts = _column(table, text, USUAL_KEYS, "text")
    answers = _column(table, answer, [key for key in _ANSWER_KEYS if key != texts], "answer")
    sure = next((key for key in _CONFIDENCE_KEYS if key in table.columns), None)
    for number, row in enumerate(table.rows, start=1):
        cell = row.get(texts)
        yield (
            f"{table.path}, row {number}, column {texts!r}",
            {
                "input": partial(read_image, cell, beside=table.path.parent) if modality == "image" else cell,
                "output": row.get(answers),
                "confidence": row.get(sure) if sure is not None else None,
                "time": _first(row, _TIME_KEYS),
            },
        )


def _column(table: Table, column: str | None, usual: Sequence[str], name: str) -> str:
    """The column that is meant.

    Raises:
        TableError: There is none.
    """
    if column is None:
        found = next((key for key in usual if key in table.columns), None)
        if found is None:
            names = ", ".join(map(repr, table.columns[:12]))
            msg = f"{table.path}: cannot tell which column holds the {name} ({names}); name it in {name}="
            raise TableError(msg)
        return found
    table.check_column(column)
    return column


def _outermost(table: Table) -> list[tuple[str, Row]]:
    """The rows of an export that are no part of another run. All rows, if each is a part."""
    rows = [(f"{table.path}, row {number}", row) for number, row in enumerate(table.rows, start=1)]
    outer = [(place, row) for place, row in rows if is_missing(_first(row, _PARENT_KEYS))]
    return outer or rows


def _called(row: Row, inputs: str, outputs: str) -> Row:
    """A row with what went into an app and what came out."""
    output = None if not is_missing(row.get("error")) else decoded(row.get(outputs))
    return {
        "input": input_of(decoded(row.get(inputs))),
        "output": output,
        "confidence": row.get("confidence"),
        "time": _first(row, _TIME_KEYS),
    }


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if not is_missing(row.get(name))), None)


def _answer_reader(answer: str | Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """The function from an output to the answer in it."""
    if answer is None:
        return output_of
    if callable(answer):
        return answer
    how = "Say where the answer is with answer=: a key, a path, or a function from the output to the answer"
    return lambda output: at_path(output, answer, how=how)


def _logs(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    read_text: Callable[[Any], str | NoText],
    read_answer: Callable[[Any], Any],
    labels: Sequence[Any] | None,
) -> Logs:
    """The rows that hold a text.

    Raises:
        TableError: None does.
    """
    parser = None if labels is None else LabelParser(labels=list(labels))
    kept, skipped = list[tuple[Any, ...]](), list[str]()
    for place, row in rows:
        try:
            text = _text(read_text(row["input"]))
            said = None if is_missing(row["output"]) else read_answer(row["output"])
            kept.append((text, _label(said, parser), _confidence(row["confidence"])))
            kept[-1] += (point_of_time(row["time"]),)
        except Exception as error:  # functions of the user's may raise anything
            skipped.append(f"{place}: {describe_error(error)}")
    if not kept:
        msg = f"got no row with a text; {skipped[0] if skipped else 'there is no row'}"
        raise TableError(msg)
    texts, answers, confidences, times = zip(*kept, strict=True)
    return Logs(texts=texts, answers=answers, confidences=confidences, times=times, skipped=tuple(skipped))


def _text(found: Any) -> str:
    if isinstance(found, str) and not is_missing(found) and is_sound(found):
        return found
    msg = found.why if isinstance(found, NoText) else "got no text"
    raise InvalidInputError(msg)


def _label(said: Any, parser: LabelParser | None) -> Any:
    """An answer as a plain value, or as one of the labels. None if it is none."""
    plain = as_cell(said)
    if plain is None or parser is None:
        return spelling(plain) if isinstance(plain, str) else plain
    try:
        return parser.invoke(plain if isinstance(plain, (str, dict)) else str(plain), {"callbacks": []})
    except ValueError:
        return None


def _confidence(cell: Any) -> float | None:
    """A confidence, which is a text in CSV. None if it is on another scale, or a word."""
    try:
        return as_confidence(float(cell) if isinstance(cell, str) and not is_missing(cell) else cell)
    except ValueError:
        return None
