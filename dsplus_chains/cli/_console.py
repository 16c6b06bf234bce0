"""What the commands share: options, progress bars, and one line for whatever a user can mend."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from langchain_core.runnables import Runnable
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dsplus_chains.schema import DSPlusError

USER_ERROR = 2
"""The exit code of what the user can mend, as for a misspelled option."""

BATCH_SIZE = 64
"""Rows in one call of the small model, and in one batch of the large one."""
CONCURRENCY = 16
"""As many requests to the large model are under way at once."""

BundleFolder: TypeAlias = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
Data: TypeAlias = Annotated[Path, typer.Option(help="The table: .csv, .tsv, .jsonl or .parquet.")]
Text: TypeAlias = Annotated[str, typer.Option(metavar="COL", help="The column with the texts.")]
Labels: TypeAlias = Annotated[str, typer.Option(metavar="COL", help="The column with the labels.")]
Json: TypeAlias = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user can mend into one line and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        yield
    except (DSPlusError, ImportError, ValueError, OSError) as error:
        Console(stderr=True).print(
            f"dsplus: {_line(error)}", style="red", markup=False, highlight=False, soft_wrap=True, emoji=False
        )
        raise typer.Exit(USER_ERROR) from error


def say(text: str) -> None:
    """Print a sentence as it is."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)


def progress_bar(console: Console | None = None, *, quiet: bool, counts: bool = False) -> Progress:
    """A progress bar, on standard error unless a console is given; with a field for counts if wanted."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    if counts:
        columns += [TimeRemainingColumn(), TextColumn("{task.fields[counts]}")]
    return Progress(*columns, console=console or Console(stderr=True), disable=quiet)


def in_batches(runnable: Runnable[Any, Any], texts: Sequence[str], title: str, *, quiet: bool) -> list[Any]:
    """What a Runnable makes of the texts, batch by batch, with a progress bar."""
    results: list[Any] = []
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task(title, total=len(texts))
        for start in range(0, len(texts), BATCH_SIZE):
            batch = list(texts[start : start + BATCH_SIZE])
            results += runnable.batch(batch, {"max_concurrency": CONCURRENCY})
            progress.advance(task, len(batch))
    return results


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def percent(share: float) -> str:
    """A share for people.

    Example:
        >>> percent(0.9512)
        '95.1 %'
    """
    return f"{100 * share:.1f} %"


def _line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {' '.join(first['msg'].removeprefix('Value error, ').split())}"
    return " ".join(str(error).split()) or type(error).__name__
