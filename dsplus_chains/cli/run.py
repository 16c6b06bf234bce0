"""`dsplus run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from langchain_core.runnables import Runnable

from dsplus_chains.cli._console import (
    BATCH_SIZE,
    CONCURRENCY,
    BundleFolder,
    Data,
    Quiet,
    Text,
    progress_bar,
    say,
    user_errors,
)
from dsplus_chains.cli._large import (
    BaseUrl,
    Large,
    LargeColumn,
    check_source,
    large_model,
    recorded_answers,
    replayed,
)

if TYPE_CHECKING:
    from dsplus_chains.bundle import Bundle
    from dsplus_chains.cli._journal import Journal
    from dsplus_chains.tables.table import Table

ADDED = ("answer", "source", "confidence", "error")
"""The columns that the output has on top of the input's."""

STOPPED = 130
"""The exit code of a run that was interrupted from the keyboard."""


def run(
    bundle: BundleFolder,
    data: Data,
    text: Text,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The output: .csv, .tsv or .jsonl.")],
    large: Large = None,
    base_url: BaseUrl = None,
    large_column: LargeColumn = None,
    retry_fallbacks: Annotated[
        bool, typer.Option("--retry-fallbacks", help="Ask again about rows that the large model failed at.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in one batch.")] = BATCH_SIZE,
    quiet: Quiet = False,
) -> None:
    """Label a file: the input's columns, and the answer, its source, the small model's confidence, the error.

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:gpt-4o-mini[/bold]

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:qwen --base-url
    http://localhost:8000/v1 --retry-fallbacks[/bold]

    Whatever ends it, the same command goes on where it ended: every reply is kept, in a journal beside the output,
    as soon as it is there, and no row that has an answer is asked about again. The output is written at the end.
    """
    with user_errors():
        check_source(large, large_column)
        from dsplus_chains._bundle_files import read_manifest
        from dsplus_chains.cli._journal import Journal, RunIdentity, journal_path, sha256_of
        from dsplus_chains.tables.read import read_table
        from dsplus_chains.tables.write import write_table

        table = read_table(data)
        texts = table.texts(text)
        _check_places(table, out)
        model: Any = None if large is None else large_model(large, base_url)
        identity = RunIdentity(
            bundle=read_manifest(bundle).sha256,
            input=sha256_of(data),
            text=text,
            large=large or f"column {large_column}",
        )
        from dsplus_chains.bundle import Bundle

        loaded = Bundle.load(bundle)
        loaded.check_tuned()
        with Journal(journal_path(out), identity, forget=retry_fallbacks) as journal:
            pending = journal.pending(len(texts), retry_fallbacks=retry_fallbacks)
            if large_column is not None:
                answer = _replay(loaded, table, large_column, texts)
            else:
                remembering = model.model_copy(update={"cache": journal})
                answer = _ask(loaded.chain(remembering), texts)
            try:
                _label(answer, journal, pending, len(texts), batch_size=batch_size, quiet=quiet)
            except KeyboardInterrupt:
                say(f"Stopped after {len(journal.rows)} of {len(texts)} rows; the same command goes on from there.")
                raise typer.Exit(STOPPED) from None
            write_table(out, [*table.columns, *ADDED], _output(table, journal))
            counts = journal.counts
            say(f"{len(texts):,} rows are in {out}: {counts}.")
            if counts.fallback:
                row = next(row for row in journal.rows.values() if row.source == "fallback")
                say(f"The first fallback is row {row.row + 1} ({row.error}); --retry-fallbacks asks about them again.")


def _check_places(table: Table, out: Path) -> None:
    from dsplus_chains.tables.table import TableError
    from dsplus_chains.tables.write import check_writable

    check_writable(out)
    if out.resolve() == table.path.resolve():
        msg = f"{out}: got the input as the output too but expected another file"
        raise TableError(msg)
    if taken := [name for name in ADDED if name in table.columns]:
        msg = f"{table.path}: got the column {taken[0]!r}, which the output needs for itself; rename it"
        raise TableError(msg)


def _ask(chain: Runnable[Any, Any], texts: Sequence[str]) -> Callable[[list[int]], list[Any]]:
    return lambda rows: chain.batch([texts[row] for row in rows], {"max_concurrency": CONCURRENCY})


def _replay(bundle: Bundle, table: Table, column: str, texts: Sequence[str]) -> Callable[[list[int]], list[Any]]:
    answers = recorded_answers(table, column, bundle.scorer.labels)

    def answer(rows: list[int]) -> list[Any]:
        scored = bundle.scorer.batch([texts[row] for row in rows])
        return replayed(bundle, scored, [answers[row] for row in rows])

    return answer


def _label(
    answer: Callable[[list[int]], list[Any]],
    journal: Journal,
    pending: list[int],
    n: int,
    *,
    batch_size: int,
    quiet: bool,
) -> None:
    """Answer the pending rows, batch by batch: one call of the small model, one batch of the large one."""
    from dsplus_chains.cli._journal import AnsweredRow

    with progress_bar(quiet=quiet, counts=True) as progress:
        task = progress.add_task("Labelling", total=n, completed=n - len(pending), counts=str(journal.counts))
        for start in range(0, len(pending), batch_size):
            rows = pending[start : start + batch_size]
            journal.commit(
                [
                    AnsweredRow(
                        row=row,
                        answer=record["answer"],
                        source=record["source"],
                        confidence=record["prediction"].confidence,
                        error=record.get("error"),
                    )
                    for row, record in zip(rows, answer(rows), strict=True)
                ]
            )
            progress.update(task, advance=len(rows), counts=str(journal.counts))


def _output(table: Table, journal: Journal) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(table.rows):
        answered = journal.rows[number]
        yield {**row, **{name: getattr(answered, name) for name in ADDED}}
