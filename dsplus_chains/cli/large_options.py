"""The large model of a command: a model to call, or answers that a model gave before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dsplus_chains.cli.console import say
from dsplus_chains.schema import describe_error, hide_secrets, shorten, shown

if TYPE_CHECKING:
    from dsplus_chains.gating.replaying import RecordedAnswer
    from dsplus_chains.prompting.parser import LabelParser
    from dsplus_chains.running.call_counter import CallCounter
    from dsplus_chains.tables.table import Table
    from dsplus_chains.task import LabelTask

Large: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="openai:NAME",
        help='The large model: "openai:NAME", the embedded "smollm2", or a name that LangChain knows, such as '
        '"ollama:NAME" or "anthropic:NAME".',
    ),
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A server of your own, OpenAI-compatible for --large openai:NAME."),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.1, help="The large model has so many seconds for one row."),
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


Plan: TypeAlias = Annotated[
    bool,
    typer.Option("--plan", help="With --large: print how many calls and about how many tokens it takes, and end."),
]
BatchApi: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--batch-api",
        help="Ask in jobs of the Batch API, for half the price. It may take a day. Limits of time and concurrency do "
        "not count for rows then.",
    ),
]


def check_source(large: str | None, large_column: str | None, *, asking: Mapping[str, bool]) -> None:
    """Refuse two large models, no large model, and options of asking where nothing is asked.

    Args:
        large: The large model to ask.
        large_column: The column with logged answers.
        asking: Options that have no effect on logged answers, and whether each was given.

    Raises:
        ValueError: This is the case.
    """
    if (large is None) == (large_column is None):
        got = "neither --large nor --large-column" if large is None else "both --large and --large-column"
        msg = f"Got {got} but expected one of them: a large model to ask, or a column with its logged answers"
        raise ValueError(msg)
    for option in (option for option, given in asking.items() if given and large is None):
        msg = f"Got {option} with --large-column, which asks for nothing; leave it out"
        raise ValueError(msg)


def check_batch_api(large: str | None, *, batch_api: bool) -> None:
    """Refuse jobs of the Batch API for a large model that has none.

    Raises:
        ValueError: This is the case.
    """
    if batch_api and not (large or "").startswith("openai:"):
        got = "a column of logged answers" if large is None else f"--large {large}"
        msg = f"Got --batch-api with {got} but expected --large openai:NAME; leave --batch-api out"
        raise ValueError(msg)


def large_or_plan(
    name: str | None,
    base_url: str | None,
    answers: Path | None = None,
    *,
    jobs: Path | None = None,
    timeout: float,
    plan_for: LabelTask | None,
) -> Any:
    """The large model. With a plan, it is a stand-in that counts the calls that a command would make.

    Args:
        name: The name of a model, as for `large_model`. None if no model is asked.
        base_url: The server, if it is not the provider's own.
        answers: The file in which its answers are kept.
        jobs: The file that keeps its batch jobs. None: it is asked row by row.
        timeout: Seconds that one request may take.
        plan_for: What would be asked, if there is only to be a plan.

    Raises:
        ValueError: There is no such model, or no key for it.
    """
    if name is None:
        return None
    if plan_for is None:
        return large_model(name, base_url, answers, jobs=jobs, timeout=timeout)
    from dsplus_chains.prompting.grouping import same_answer
    from dsplus_chains.running.call_counter import CallCounter

    check_name(name)
    return CallCounter(reply=partial(same_answer, answer=str(plan_for.labels[0])))


def what_stays(large: str | None, answers: Path | None, *, jobs: bool = False) -> str:
    """What stays of the answers of a large model if a command is interrupted. Empty if none was paid for.

    Example:
        >>> what_stays("openai:gpt-4o-mini", None)
        'Its answers are lost. With --answers FILE, they are kept for the next time.'
    """
    if large is None or large == "smollm2":
        return ""
    if jobs:
        return "Its jobs go on, and the same command finds them again."
    if answers is None:
        return "Its answers are lost. With --answers FILE, they are kept for the next time."
    return f"Its answers so far are in {answers}. The same command asks only for the others."


def say_plan(model: CallCounter, answers: Path | None = None) -> None:
    """Print the calls that were counted."""
    kept = "" if answers is None else f" Answers that are kept in {answers} cost nothing."
    say(
        f"The plan: {model.calls:,} calls of the large model and about {model.tokens:,} tokens. A reply that is no "
        f"label may cost a second call.{kept} Nothing was asked."
    )


def check_name(name: str) -> None:
    """Refuse the name of a large model that no command knows.

    Raises:
        ValueError: It is neither "smollm2" nor a provider with a name.
    """
    provider, _, model = name.partition(":")
    if name != "smollm2" and not (provider and model):
        others = 'or another provider of LangChain ("ollama:NAME", "anthropic:NAME")'
        msg = f'Got --large {name!r} but expected "smollm2" or "openai:NAME", {others}'
        raise ValueError(msg)


def large_model(
    name: str,
    base_url: str | None,
    answers: Path | None = None,
    *,
    jobs: Path | None = None,
    timeout: float | None = None,
) -> Any:
    """The chat model of this name.

    Args:
        name: "smollm2", "openai:NAME", or a name for LangChain's `init_chat_model`, such as "ollama:NAME".
        base_url: The server, if it is not the provider's own.
        answers: The file in which its answers are kept.
        jobs: The file that keeps its batch jobs. None: it is asked row by row.
        timeout: Seconds that one request may take. None: as long as the client waits by itself.

    Raises:
        ValueError: There is no such model, or no key for it.
    """
    check_name(name)
    if name == "smollm2":
        if answers is not None:
            msg = "Got --answers with the embedded model, whose answers cost nothing; leave it out"
            raise ValueError(msg)
        if base_url is not None:
            msg = "Got --base-url with the embedded model, which has no server; leave it out"
            raise ValueError(msg)
        from dsplus_chains.demo.weights import load_smollm2

        return load_smollm2()
    settings: dict[str, Any] = {"temperature": 0, "timeout": timeout}
    if base_url is not None:
        settings["base_url"] = base_url
    if answers is not None:
        from dsplus_chains.storage.answer_cache import SQLiteAnswerCache

        settings["cache"] = SQLiteAnswerCache(answers)
    if not name.startswith("openai:"):
        return _any_model(name, settings)
    # A server of the user's own usually needs no key, but the client requires one.
    key = os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
    if key is None:
        msg = "Got no OPENAI_API_KEY in the environment; set it, or name a server of your own with --base-url"
        raise ValueError(msg)
    settings.update(model=name.partition(":")[2], api_key=key)
    if jobs is not None:
        from dsplus_chains.corpus.batch_chat import BatchChatOpenAI

        return BatchChatOpenAI(state=jobs, **settings)
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(**settings)


def _any_model(name: str, settings: dict[str, Any]) -> Any:
    """The chat model that LangChain makes of a name.

    Raises:
        ValueError: A package is missing, there is no such provider, or its client refuses the settings.
    """
    if name.startswith("ollama:"):  # its client takes the timeout elsewhere
        settings = {**settings, "client_kwargs": {"timeout": settings["timeout"]}}
        del settings["timeout"]
    try:
        from langchain.chat_models import init_chat_model

        return init_chat_model(name, **settings)
    except Exception as error:  # a package is missing, and the error names it, or the client refuses a setting
        msg = f"Got --large {name!r}, which cannot be made: {shorten(hide_secrets(describe_error(error)), 400)}"
        raise ValueError(msg) from error


def check_answered(records: Sequence[dict[str, Any]]) -> None:
    """Refuse rows if the large model answered none of them. Then the connection is broken.

    Raises:
        ValueError: None of the rows has an answer of the large model.
    """
    if all(record["source"] == "fallback" for record in records):
        msg = f"The large model answered none of {len(records)} rows; the first failure was {records[0]['error']}"
        raise ValueError(msg)


def logged_in(table: Table, column: str, parser: LabelParser) -> list[RecordedAnswer]:
    """The answers in a column, one a row.

    Raises:
        TableError: There is no such column.
        ValueError: No cell of it holds an answer. Then it is the wrong column.
    """
    from dsplus_chains.evaluation.recorded import read_recorded

    cells = table.cells(column)
    answers = read_recorded(cells, parser, where=f"column {column!r}")
    if all(answer.value is None for answer in answers):
        first = next((cell for cell in cells if cell is not None), None)
        holds = "is empty" if first is None else f"holds no label; its first cell that is not empty is {shown(first)}"
        msg = f"The large model answered none of {len(cells)} rows: column {column!r} {holds}"
        raise ValueError(msg)
    return answers


def priced_name(large: str | None, base_url: str | None) -> str | None:
    """The name by which a large model has a price. A server of the user's own may give its model any name.

    Example:
        >>> priced_name("openai:gpt-4o-mini", None), priced_name("openai:mine", "http://localhost:8000/v1")
        ('openai:gpt-4o-mini', 'mine')
    """
    return large if large is None or base_url is None else large.partition(":")[2]


def settings_of(large: str | None, base_url: str | None, large_column: str | None, data: Path) -> dict[str, Any]:
    """What a bundle keeps about the large model used for tuning. That is no password in its server's address."""
    if large_column is not None:
        return {"column": large_column, "file": data.name}
    return {"name": large, **({} if base_url is None else {"base_url": hide_secrets(base_url)})}
