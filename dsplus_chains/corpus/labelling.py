"""Labelling a table. If a run ends early, the same call continues it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from dsplus_chains.corpus.answered import AnsweredRow, Counts
from dsplus_chains.corpus.journal import Journal, journal_path
from dsplus_chains.corpus.run_input import ADDED, prepare_run
from dsplus_chains.evaluation.recorded import read_recorded
from dsplus_chains.running.call_counter import CallCounter
from dsplus_chains.running.flow import Ask
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.running.outage import is_callers_bug
from dsplus_chains.running.progress import BATCH_SIZE, Progress
from dsplus_chains.schema import WiringError, describe_error
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.tables.table import Table
from dsplus_chains.tables.writing import write_table

Answer: TypeAlias = Callable[[list[int]], list[Any]]
"""A function from the numbers of some rows to their records."""


class RunInterruptedError(KeyboardInterrupt):
    """A run was interrupted from the keyboard. The same call continues it.

    Args:
        done: Number of rows that have an answer.
        total: Number of all rows.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped after {done} of {total} rows. What was answered before is kept")
        self.done = done
        self.total = total


@dataclass(frozen=True, kw_only=True)
class LabelledTable:
    """The result of a run.

    Args:
        rows: Number of rows in the output.
        counts: How the rows were answered.
        first_fallback: The first row that the large model failed at. None if there is none.
    """

    rows: int
    counts: Counts
    first_fallback: AnsweredRow | None


def label_table(
    bundle: str | Path,
    data: str | Path,
    *,
    text: str,
    out: str | Path,
    delimiter: str | None = None,
    encoding: str | None = None,
    expected_sha256: str | None = None,
    allow_download: bool = False,
    large_model: Any = None,
    large_name: str | None = None,
    server: str | None = None,
    large_column: str | None = None,
    retry_fallbacks: bool = False,
    batch_size: int = BATCH_SIZE,
    concurrency: int | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> LabelledTable:
    """Label a table. The output has its columns, the answer, its source, the small model's confidence and the error.

    Every reply of the large model is kept in a journal beside the output, as soon as it is there. No row that has an
    answer is asked about again, except with `retry_fallbacks`. The output is written at the end.

    Args:
        bundle: The folder of a tuned bundle.
        data: The file with the table.
        text: The column with the texts.
        out: The output. The ending of its name tells its kind. It may not be inside the bundle.
        delimiter: What separates the fields of a text file. See `read_table`.
        encoding: The encoding of a text file.
        expected_sha256: SHA-256 of the bundle's manifest. See `Bundle.load`.
        allow_download: Whether an encoder that the bundle names may be fetched from the hub.
        large_model: A chat model for the rows that the small model is not sure of. None: `large_column` is used.
        large_name: The name of the large model. With another name, its journal counts as that of another run.
        server: The address of its server, where it is not the provider's own. Another server's journal counts as that
            of another run.
        large_column: The column with logged answers of a large model.
        retry_fallbacks: Ask again about rows that the large model failed at.
        batch_size: Number of rows in one batch.
        concurrency: Most requests to the large model at the same time. None: 100.
        limits: How long and how patiently the large model is asked. None: with a breaker, and 60 seconds a row.
        progress: A function that is called after each batch.

    Raises:
        TableError: The table cannot be read, or the output cannot be written.
        BundleError: The bundle is damaged, or not tuned.
        JournalError: The journal is damaged, in use, or belongs to another run.
        LargeModelError: The large model's key is refused, or there is no such model. What was answered is kept.
        RunInterruptedError: Ctrl-C was pressed. All answers so far are kept.
    """
    out = Path(out)
    large_name = large_name or (f"column {large_column}" if large_model is None else type(large_model).__name__)
    loaded, table, texts, identity = prepare_run(
        Path(bundle),
        Path(data),
        text,
        out,
        delimiter=delimiter,
        encoding=encoding,
        large=large_name,
        server=server,
        expected_sha256=expected_sha256,
        allow_download=allow_download,
    )
    limits = Limits(timeout=TIMEOUT) if limits is None else limits
    with Journal(journal_path(out), identity, labels=loaded.task.labels, forget=retry_fallbacks) as journal:
        if large_model is None:
            answer = _replaying(loaded, table, str(large_column), texts)
        else:
            remembering = large_model.model_copy(update={"cache": journal})
            chain = loaded.chain(remembering, **limits.settings)
            answer = _asking(chain, texts, concurrency)
        try:
            label_rows(
                answer,
                journal,
                len(texts),
                retry_fallbacks=retry_fallbacks,
                batch_size=batch_size,
                limits=limits,
                progress=progress,
            )
        except KeyboardInterrupt as interrupt:
            raise RunInterruptedError(len(journal), len(texts)) from interrupt
        write_table(out, [*table.columns, *ADDED], _output(table, journal))
        return LabelledTable(rows=len(texts), counts=journal.counts, first_fallback=journal.first_fallback)


def plan_table(
    bundle: str | Path,
    data: str | Path,
    *,
    text: str,
    out: str | Path,
    large_name: str,
    server: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    expected_sha256: str | None = None,
    allow_download: bool = False,
    retry_fallbacks: bool = False,
    progress: Progress | None = None,
) -> CallCounter:
    """Foretell the calls of `label_table` without asking a large model. The arguments are those of `label_table`.

    Rows that the journal holds are not counted. Equal texts are, though the journal may answer the later ones.

    Raises:
        TableError: The table cannot be read, or the output cannot be written.
        BundleError: The bundle is damaged, or not tuned.
        JournalError: The journal is damaged, in use, or belongs to another run.
    """
    out = Path(out)
    loaded, _, texts, identity = prepare_run(
        Path(bundle),
        Path(data),
        text,
        out,
        delimiter=delimiter,
        encoding=encoding,
        large=large_name,
        server=server,
        expected_sha256=expected_sha256,
        allow_download=allow_download,
    )
    rows = list(range(len(texts)))
    if journal_path(out).exists():
        with Journal(journal_path(out), identity, labels=loaded.task.labels) as journal:
            rows = list(journal.pending(len(texts), retry_fallbacks=retry_fallbacks))
    model = CallCounter(reply=str(loaded.task.labels[0]))
    answer = _asking(loaded.chain(model), texts, None)
    for start in range(0, len(rows), BATCH_SIZE):
        answer(rows[start : start + BATCH_SIZE])
        if progress is not None:
            progress("Scoring", min(start + BATCH_SIZE, len(rows)), len(rows))
    return model


def label_rows(
    answer: Answer,
    journal: Journal,
    n: int,
    *,
    retry_fallbacks: bool,
    batch_size: int,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> None:
    """Answer the pending rows, batch by batch: one call of the small model, one batch of the large one.

    A row that neither model can answer is kept with the source "error". It does not stop the others.

    Args:
        answer: A function that answers rows. A row that it cannot answer is an exception.
        journal: The journal that keeps the answers, and knows which rows are pending.
        n: Number of rows in all.
        retry_fallbacks: Answer again the rows that the large model failed at.
        batch_size: Number of rows in one batch.
        limits: Those of the large model. If no further request can succeed, the run stops.
        progress: A function that is called after each batch.

    Raises:
        LargeModelError: The key is refused, or there is no such model. What was answered before is kept.
        Exception: A bug in your own code behind `answer`.
    """
    pending = journal.pending(n, retry_fallbacks=retry_fallbacks)
    while rows := list(islice(pending, batch_size)):
        answered = [_answered(row, record) for row, record in zip(rows, answer(rows), strict=True)]
        if limits is not None and limits.breaker is not None and limits.breaker.hopeless is not None:
            answered = [row for row in answered if row.source not in {"fallback", "error"}]
        journal.commit(answered)
        if limits is not None:
            limits.check()
        if progress is not None:
            progress("Labelling", len(journal), n, str(journal.counts))


def _answered(row: int, record: Any) -> AnsweredRow:
    if isinstance(record, Exception):
        if isinstance(record, WiringError) or is_callers_bug(record):
            raise record
        return AnsweredRow(row=row, answer=None, source="error", confidence=None, error=describe_error(record))
    return AnsweredRow(
        row=row,
        answer=record["answer"],
        source=record["source"],
        confidence=record["prediction"].confidence,
        error=record.get("error"),
    )


def _asking(chain: Runnable[Any, Any], texts: list[str], concurrency: int | None) -> Answer:
    config: RunnableConfig = {"max_concurrency": concurrency}
    return lambda rows: Ask(chain, [texts[row] for row in rows], [config] * len(rows)).call().outputs


def _replaying(bundle: Bundle, table: Table, column: str, texts: list[str]) -> Answer:
    answers = read_recorded(table.cells(column), bundle.task.parser, where=f"column {column!r}")
    scorer = bundle.scorer.deferring()

    def answer(rows: list[int]) -> list[Any]:
        scored = scorer.batch([texts[row] for row in rows])
        return bundle.replay(scored, [answers[row] for row in rows], return_exceptions=True)

    return answer


def _output(table: Table, journal: Journal) -> Iterator[dict[str, Any]]:
    for row, answered in zip(table.rows, journal.answers(), strict=True):
        yield {**row, **{name: getattr(answered, name) for name in ADDED}}
