"""The large model of a command: one to be called, or the answers that one gave before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dsplus_chains.schema import LargeAnswer, describe_error

if TYPE_CHECKING:
    from dsplus_chains.bundle import Bundle
    from dsplus_chains.tables.table import Table
    from dsplus_chains.tuning.result import TunedThreshold

Large: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="openai:NAME", help='The large model: "openai:NAME", or the embedded "smollm2".'),
]
BaseUrl: TypeAlias = Annotated[
    str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server, for --large openai:NAME.")
]
AnswerFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--answers", metavar="FILE", help="Keep the large model's answers here, and ask for none that is there already."
    ),
]
LargeColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="COL", help="The column with logged answers of a large model; an empty cell: it failed."),
]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One logged answer.

    Args:
        value: The label that it names; None if there is none.
        error: Why there is none; None if there is one.
    """

    value: Any
    error: str | None


def check_source(large: str | None, large_column: str | None) -> None:
    """Refuse two large models, and none.

    Raises:
        ValueError: Not exactly one of the two options is given.
    """
    if (large is None) == (large_column is None):
        got = "neither --large nor --large-column" if large is None else "both --large and --large-column"
        msg = f"Got {got} but expected one of them: a large model to ask, or a column with its logged answers"
        raise ValueError(msg)


def large_model(name: str, base_url: str | None, answers: Path | None = None) -> Any:
    """The chat model of that name.

    Args:
        name: "smollm2" or "openai:NAME".
        base_url: An OpenAI-compatible server.
        answers: The file in which its answers are kept.

    Raises:
        ValueError: There is no such model, or no key for it.
    """
    if name == "smollm2":
        if answers is not None:
            msg = "Got --answers with the embedded model, whose answers cost nothing; leave it out"
            raise ValueError(msg)
        from dsplus_chains.demo.weights import load_smollm2

        return load_smollm2()
    provider, _, model = name.partition(":")
    if provider != "openai" or not model:
        msg = f'Got --large {name!r} but expected "smollm2" or "openai:NAME"'
        raise ValueError(msg)
    # A server of one's own usually wants no key, but the client insists on one.
    key = os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
    if key is None:
        msg = "Got no OPENAI_API_KEY in the environment; set it, or name a server of your own with --base-url"
        raise ValueError(msg)
    from langchain_openai import ChatOpenAI

    settings: dict[str, Any] = {"model": model, "base_url": base_url, "api_key": key, "temperature": 0}
    if answers is not None:
        from dsplus_chains.integrations.answer_cache import SQLiteAnswerCache

        settings["cache"] = SQLiteAnswerCache(answers)
    return ChatOpenAI(**settings)


def recorded_answers(table: Table, column: str, labels: Sequence[Any]) -> list[Recorded]:
    """The logged answers in a column, read as the chain would read them: exactly one label, or a failure."""
    from langchain_core.exceptions import OutputParserException

    from dsplus_chains.prompting.parser import LabelParser
    from dsplus_chains.tables.table import label_reader

    read, parser = label_reader(labels), LabelParser(labels=labels)
    answers = []
    for row, cell in enumerate(table.cells(column), start=1):
        if cell is None:
            answers.append(Recorded(value=None, error=f"NoRecordedAnswer: column {column!r} is empty in row {row}"))
            continue
        value, error = read(cell), None
        if value is None:
            try:
                value = parser.parse(cell)
            except OutputParserException as unread:
                error = describe_error(unread)
        answers.append(Recorded(value=value, error=error))
    return answers


def replayed(bundle: Bundle, scored: Sequence[dict[str, Any]], answers: Sequence[Recorded]) -> list[dict[str, Any]]:
    """The records that the chain would return, had the large model given these answers."""
    tuned = bundle.check_tuned()
    records = [_decided(record, answer, tuned) for record, answer in zip(scored, answers, strict=True)]
    return records if bundle.fusion is None else bundle.fusion.batch(records)


def _decided(record: dict[str, Any], answer: Recorded, tuned: TunedThreshold) -> dict[str, Any]:
    from dsplus_chains.gating.threshold import keeps, threshold_for

    prediction = record["prediction"]
    if keeps(prediction, threshold_for(tuned.threshold, prediction), tuned.max_ood_score):
        return {**record, "answer": prediction.label, "source": "small"}
    large = LargeAnswer(value=answer.value)
    if answer.value is None:
        return {**record, "answer": prediction.label, "source": "fallback", "error": answer.error, "large": large}
    return {**record, "answer": answer.value, "source": "large", "large": large}


def answer_of(record: dict[str, Any]) -> Any:
    """What the large model answered in a chain that deferred everything; None where it failed."""
    return record["answer"] if record["source"] == "large" else None


def check_answered(records: Sequence[dict[str, Any]]) -> None:
    """Refuse rows none of which the large model answered: that is no large model but a broken wire.

    Raises:
        ValueError: None of the rows has an answer of the large model.
    """
    if all(record["source"] == "fallback" for record in records):
        msg = f"The large model answered none of {len(records)} rows; the first failure was {records[0]['error']}"
        raise ValueError(msg)


def settings_of(large: str | None, base_url: str | None, large_column: str | None, data: Path) -> dict[str, Any]:
    """What a bundle keeps of the large model that it was tuned with."""
    if large_column is not None:
        return {"column": large_column, "file": data.name}
    return {"name": large, **({} if base_url is None else {"base_url": base_url})}
