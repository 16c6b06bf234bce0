"""Labelling a table. If a run ends early, the same call continues it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dsplus_chains.corpus.journal import AnsweredRow, Counts, Journal, RunIdentity, journal_path
from dsplus_chains.evaluation.recorded import read_recorded
from dsplus_chains.running.progress import BATCH_SIZE, Progress
from dsplus_chains.schema import hash_of_file
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.bundle_files import read_manifest
from dsplus_chains.tables.reading import read_table
from dsplus_chains.tables.table import Table, TableError
from dsplus_chains.tables.writing import check_writable, write_table

ADDED = ("answer", "source", "confidence", "error")
"""The columns that the output has in addition to those of the input."""

Answer: TypeAlias = Callable[[list[int]], list[dict[str, Any]]]
"""A function from the numbers of some rows to their records."""


class RunInterruptedError(KeyboardInterrupt):
    """A run was interrupted from the keyboard. The same call continues it.

    Args:
        done: Number of rows that have an answer.
        total: Number of all rows.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped after {done} of {total} rows")
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
    large_model: Any = None,
    large_name: str | None = None,
    large_column: str | None = None,
    retry_fallbacks: bool = False,
    batch_size: int = BATCH_SIZE,
    concurrency: int | None = None,
    progress: Progress | None = None,
) -> LabelledTable:
    """Label a table. The output has its columns, the answer, its source, the small model's confidence and the error.

    Every reply of the large model is kept in a journal beside the output, as soon as it is there. No row that has an
    answer is asked about again, except with `retry_fallbacks`. The output is written at the end.

    Args:
        bundle: The folder of a tuned bundle.
        data: The file with the table.
        text: The column with the texts.
        out: The output. The ending of its name tells its kind.
        large_model: A chat model for the rows that the small model is not sure of. None: `large_column` is used.
        large_name: The name of the large model. With another name, its journal counts as that of another run.
        large_column: The column with logged answers of a large model.
        retry_fallbacks: Ask again about rows that the large model failed at.
        batch_size: Number of rows in one batch.
        concurrency: Most requests to the large model at the same time. None: LangChain's own limit.
        progress: A function that is called after each batch.

    Raises:
        TableError: The table cannot be read, or the output cannot be written.
        BundleError: The bundle is damaged, or not tuned.
        JournalError: The journal is damaged, in use, or belongs to another run.
        RunInterruptedError: Ctrl-C was pressed. All answers so far are kept.
    """
    data, out = Path(data), Path(out)
    table = read_table(data)
    texts = table.texts(text)
    _check_places(table, out)
    identity = RunIdentity(
        bundle=read_manifest(Path(bundle)).sha256,
        input=hash_of_file(data),
        text=text,
        large=large_name or (f"column {large_column}" if large_model is None else type(large_model).__name__),
    )
    loaded = Bundle.load(bundle)
    loaded.check_tuned()
    with Journal(journal_path(out), identity, forget=retry_fallbacks) as journal:
        if large_model is None:
            answer = _replaying(loaded, table, str(large_column), texts)
        else:
            answer = _asking(loaded, large_model.model_copy(update={"cache": journal}), texts, concurrency)
        try:
            label_rows(
                answer,
                journal,
                len(texts),
                retry_fallbacks=retry_fallbacks,
                batch_size=batch_size,
                progress=progress,
            )
        except KeyboardInterrupt as interrupt:
            raise RunInterruptedError(len(journal.rows), len(texts)) from interrupt
        write_table(out, [*table.columns, *ADDED], _output(table, journal))
        fallbacks = (row for row in journal.rows.values() if row.source == "fallback")
        return LabelledTable(rows=len(texts), counts=journal.counts, first_fallback=next(fallbacks, None))


def label_rows(
    answer: Answer,
    journal: Journal,
    n: int,
    *,
    retry_fallbacks: bool,
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Answer the pending rows, batch by batch. A batch is one call of the small model and one batch of the large one.

    Args:
        answer: A function that answers rows.
        journal: The journal, which keeps the answers and knows the pending rows.
        n: Number of all rows.
        retry_fallbacks: Answer again the rows that the large model failed at.
        batch_size: Number of rows in one batch.
        progress: A function that is called after each batch.
    """
    pending = journal.pending(n, retry_fallbacks=retry_fallbacks)
    done = n - len(pending)
    for start in range(0, len(pending), batch_size):
        rows = pending[start : start + batch_size]
        records = answer(rows)
        journal.commit([_answered(row, record) for row, record in zip(rows, records, strict=True)])
        if progress is not None:
            progress("Labelling", done + start + len(rows), n, str(journal.counts))


def _answered(row: int, record: dict[str, Any]) -> AnsweredRow:
    return AnsweredRow(
        row=row,
        answer=record["answer"],
        source=record["source"],
        confidence=record["prediction"].confidence,
        error=record.get("error"),
    )


def _asking(bundle: Bundle, model: Any, texts: list[str], concurrency: int | None) -> Answer:
    chain = bundle.chain(model)
    return lambda rows: chain.batch([texts[row] for row in rows], {"max_concurrency": concurrency})


def _replaying(bundle: Bundle, table: Table, column: str, texts: list[str]) -> Answer:
    answers = read_recorded(table.cells(column), bundle.task.parser, where=f"column {column!r}")
    return lambda rows: bundle.replay(bundle.scorer.batch([texts[row] for row in rows]), [answers[row] for row in rows])


def _check_places(table: Table, out: Path) -> None:
    check_writable(out)
    if out.resolve() == table.path.resolve():
        msg = f"{out}: got the input as the output too but expected another file"
        raise TableError(msg)
    if taken := [name for name in ADDED if name in table.columns]:
        msg = f"{table.path}: got the column {taken[0]!r}, which the output needs for itself; rename it"
        raise TableError(msg)


def _output(table: Table, journal: Journal) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(table.rows):
        answered = journal.rows[number]
        yield {**row, **{name: getattr(answered, name) for name in ADDED}}
