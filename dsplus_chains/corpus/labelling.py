"""Labelling a table. If a run ends early, the same call continues it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from dsplus_chains.corpus.answered import AnsweredRow, Counts
from dsplus_chains.corpus.answering import (
    Answered,
    answered_from_log,
    answered_live,
    answered_row,
    answered_whole,
    rows_at_once,
)
from dsplus_chains.corpus.job_lines import ROWS
from dsplus_chains.corpus.journal import Journal, journal_path
from dsplus_chains.corpus.pending_rows import in_batches_of, pending_rows
from dsplus_chains.corpus.ray_scoring import check_workers, scored_by_ray
from dsplus_chains.corpus.run_input import ADDED, prepare_run
from dsplus_chains.corpus.scored import scored_here
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.running.progress import BATCH_SIZE, Progress
from dsplus_chains.schema import InvalidInputError, check_least, what_came
from dsplus_chains.storage.answer_cache import remembering
from dsplus_chains.tables.file_rows import FileRows
from dsplus_chains.tables.table import Column, Table
from dsplus_chains.tables.writing import write_table


class RunInterruptedError(KeyboardInterrupt):
    """A run was interrupted from the keyboard. The same call continues it.

    Args:
        done: Number of rows that have an answer.
        total: Number of all rows.
        replies: Number of replies that are kept beside, of batches that are not complete.
    """

    def __init__(self, done: int, total: int, replies: int = 0) -> None:
        beside = f", and {replies} replies for others" if replies else ""
        super().__init__(f"stopped after {done} of {total} rows{beside}. What was answered before is kept")
        self.done = done
        self.total = total
        self.replies = replies


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
    text: Column,
    modality: Modality = "text",
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
    in_jobs: bool = False,
    batch_size: int | None = None,
    concurrency: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> LabelledTable:
    """Label a table. The output has its columns, the answer, its source, the small model's confidence and the error.

    Every reply of the large model is kept in a journal beside the output, as soon as it is there. No row that has an
    answer is asked about again, except with `retry_fallbacks`. The output is written at the end.

    The next rows are read and scored while others are asked about. Of a CSV, TSV, JSON Lines or Parquet file, no more
    rows are in memory than these few.

    If the bundle asks in groups, no row has a time limit of its own. Only the model's own timeout counts then, for each
    request. A batch is larger, because groups are made of its deferred rows. If a run is killed, up to four batches are
    under way. A group whose reply is kept is found again, if the same rows are asked about together.

    Args:
        bundle: The folder of a tuned bundle.
        data: The file with the table.
        text: The column with the texts, or with the paths of images, relative to the table. Two columns, as a tuple,
            hold pairs of texts.
        modality: What the small model reads, "text" or "image".
        out: The output: .csv, .tsv, .jsonl or .parquet. It may not be inside the bundle.
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
        in_jobs: Whether the large model takes all deferred rows of a batch at once, as `BatchChatOpenAI` does. Then no
            row has a time limit.
        batch_size: Number of rows in one batch. None: 64 times the most rows in one prompt, and 50,000 in jobs.
        concurrency: Most requests to the large model at the same time, over all batches. None: 100.
        workers: Number of processes that score, by Ray. None: this process alone scores. See `scored_by_ray`.
        cluster: The address of a Ray cluster that is running. None: the one that this process has joined, or a new one
            on this machine.
        limits: How long and how patiently the large model is asked. None: with a breaker, and 60 seconds a row.
        progress: A function that is called after each batch.

    Raises:
        InvalidInputError: There is no large model and no column with logged answers, or there are both. Or another
            argument is none that it may be.
        TableError: The table cannot be read, or the output cannot be written.
        BundleError: The bundle is damaged, or not tuned.
        JournalError: The journal is damaged, in use, or belongs to another run. Or the disk is full, and nothing more
            is asked.
        LargeModelError: The large model's key is refused, or there is no such model. What was answered is kept.
        WorkerError: A worker of Ray cannot be had, or ended again and again. What was answered is kept.
        ImportError: There are to be workers, and Ray is not installed.
        RunInterruptedError: Ctrl-C was pressed. All answers so far are kept.
    """
    out = Path(out)
    if (large_model is None) == (large_column is None):
        msg = (
            f"Got large_model={what_came(large_model)} and large_column={what_came(large_column)} but expected one of "
            "them: a large model to ask, or a column with its logged answers"
        )
        raise InvalidInputError(msg)
    for name, value in (("batch_size", batch_size), ("concurrency", concurrency)):
        if value is not None:
            check_least(name, value, 1)
    check_workers(workers, cluster=cluster)
    large_name = large_name or (f"column {large_column}" if large_model is None else type(large_model).__name__)
    loaded, table, identity = prepare_run(
        Path(bundle),
        Path(data),
        text,
        out,
        modality=modality,
        delimiter=delimiter,
        encoding=encoding,
        large=large_name,
        server=server,
        expected_sha256=expected_sha256,
        allow_download=allow_download,
    )
    if large_model is None:
        table.check_column(str(large_column))
    limits = Limits(timeout=TIMEOUT) if limits is None else limits
    is_grouped = loaded.task.group > 1 and limits.budget is None and limits.deadline is None
    size = batch_size or (ROWS if in_jobs else rows_at_once(loaded.task) if is_grouped else BATCH_SIZE)
    n = len(table.rows)
    with Journal(journal_path(out), identity, labels=loaded.task.labels, forget=retry_fallbacks) as journal:
        pending = pending_rows(table, text, journal.pending(n, retry_fallbacks=retry_fallbacks), modality)
        batches = takewhile(lambda _: not (limits.are_hopeless or journal.failure), in_batches_of(size, pending))
        scored = (
            scored_here(loaded, batches)
            if workers is None
            else scored_by_ray(
                Path(bundle),
                batches,
                workers=workers,
                cluster=cluster,
                expected_sha256=identity.bundle,
                allow_download=allow_download,
            )
        )
        if large_model is None:
            answered = answered_from_log(loaded, str(large_column), scored)
        else:
            model = remembering(large_model, journal)
            answered = (
                answered_whole(
                    loaded,
                    model,
                    scored,
                    limits=limits,
                    concurrency=None if in_jobs else concurrency,
                    in_jobs=in_jobs,
                )
                if in_jobs or is_grouped
                else answered_live(loaded, model, scored, limits=limits, concurrency=concurrency)
            )
        try:
            with closing(answered):
                keep_answers(answered, journal, n, limits=limits, progress=progress)
        except KeyboardInterrupt as interrupt:
            raise RunInterruptedError(len(journal), n, journal.under_way) from interrupt
        write_table(out, [*table.columns, *ADDED], FileRows(n=n, read=partial(_output, table, journal)))
        return LabelledTable(rows=n, counts=journal.counts, first_fallback=journal.first_fallback)


def keep_answers(
    answered: Answered,
    journal: Journal,
    n: int,
    *,
    limits: Limits,
    progress: Progress | None = None,
) -> None:
    """Keep the answers of each batch as soon as it is done.

    A row that neither model can answer is kept with the source "error". It does not stop the others.

    Args:
        answered: The batches. They end where no further request can succeed.
        journal: The journal that keeps the answers.
        n: Number of rows in all.
        limits: Those of the large model.
        progress: A function that is called after each batch.

    Raises:
        JournalError: No more can be kept, for instance since the disk is full.
        LargeModelError: The key is refused, or there is no such model. What was answered before is kept.
        Exception: A bug in your own code behind the large model.
    """
    for rows, records in answered:
        kept = [answered_row(row.index, record) for row, record in zip(rows, records, strict=True)]
        if limits.are_hopeless or journal.failure:
            kept = [row for row in kept if row.source not in {"fallback", "error"}]
        journal.commit(kept)
        if progress is not None:
            progress("Labelling", len(journal), n, str(journal.counts))
    journal.check()
    limits.check()


def _output(table: Table, journal: Journal) -> Iterator[dict[str, Any]]:
    for row, answered in zip(table.rows, journal.answers(), strict=True):
        yield {**row, **{name: getattr(answered, name) for name in ADDED}}
