"""The large model of a command: a model to call, or answers that a model gave before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dsplus_chains.schema import hide_secrets

Large: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="openai:NAME", help='The large model: "openai:NAME", or the embedded "smollm2".'),
]
BaseUrl: TypeAlias = Annotated[
    str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server, for --large openai:NAME.")
]
Timeout: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.1, help="The large model has so many seconds for one row.")
]
AnswerFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--answers", metavar="FILE", help="Keep the large model's answers here. Ask only for those not kept yet."
    ),
]
LargeColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="COL", help="The column with a large model's logged answers. An empty cell means it failed."),
]


def check_source(large: str | None, large_column: str | None) -> None:
    """Refuse two large models, and no large model.

    Raises:
        ValueError: Not exactly one of the two options is given.
    """
    if (large is None) == (large_column is None):
        got = "neither --large nor --large-column" if large is None else "both --large and --large-column"
        msg = f"Got {got} but expected one of them: a large model to ask, or a column with its logged answers"
        raise ValueError(msg)


def large_model(name: str, base_url: str | None, answers: Path | None = None, *, timeout: float | None = None) -> Any:
    """The chat model of this name.

    Args:
        name: "smollm2" or "openai:NAME".
        base_url: An OpenAI-compatible server.
        answers: The file in which its answers are kept.
        timeout: Seconds that one request may take. None: as long as the client waits by itself.

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
    # A server of the user's own usually needs no key, but the client requires one.
    key = os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
    if key is None:
        msg = "Got no OPENAI_API_KEY in the environment; set it, or name a server of your own with --base-url"
        raise ValueError(msg)
    from langchain_openai import ChatOpenAI

    settings: dict[str, Any] = {"model": model, "base_url": base_url, "api_key": key, "temperature": 0}
    settings["timeout"] = timeout
    if answers is not None:
        from dsplus_chains.storage.answer_cache import SQLiteAnswerCache

        settings["cache"] = SQLiteAnswerCache(answers)
    return ChatOpenAI(**settings)


def check_answered(records: Sequence[dict[str, Any]]) -> None:
    """Refuse rows if the large model answered none of them. Then the connection is broken.

    Raises:
        ValueError: None of the rows has an answer of the large model.
    """
    if all(record["source"] == "fallback" for record in records):
        msg = f"The large model answered none of {len(records)} rows; the first failure was {records[0]['error']}"
        raise ValueError(msg)


def settings_of(large: str | None, base_url: str | None, large_column: str | None, data: Path) -> dict[str, Any]:
    """What a bundle keeps about the large model used for tuning. That is no password in its server's address."""
    if large_column is not None:
        return {"column": large_column, "file": data.name}
    return {"name": large, **({} if base_url is None else {"base_url": hide_secrets(base_url)})}
