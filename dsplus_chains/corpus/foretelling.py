"""Foretelling the calls of a run over a table, before anything is paid."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from dsplus_chains.corpus.answering import rows_at_once
from dsplus_chains.corpus.journal import Journal, journal_path
from dsplus_chains.corpus.pending_rows import in_batches_of, pending_rows
from dsplus_chains.corpus.run_input import prepare_run
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.prompting.grouping import same_answer
from dsplus_chains.running.call_counter import CallCounter
from dsplus_chains.running.progress import Progress
from dsplus_chains.tables.table import Column


def plan_table(
    bundle: str | Path,
    data: str | Path,
    *,
    text: Column,
    modality: Modality = "text",
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

    Rows that the journal holds are not counted. Equal texts count once in a batch. In different batches they count
    again, though the journal may answer the later ones.

    Raises:
        TableError: The table cannot be read, or the output cannot be written.
        BundleError: The bundle is damaged, or not tuned.
        JournalError: The journal is damaged, in use, or belongs to another run.
    """
    out = Path(out)
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
    n = len(table.rows)
    model = CallCounter(reply=partial(same_answer, answer=str(loaded.task.labels[0])))
    chain = loaded.chain(model)
    with ExitStack() as stack:
        indices: Iterable[int] = range(n)
        if journal_path(out).exists():
            journal = stack.enter_context(Journal(journal_path(out), identity, labels=loaded.task.labels))
            indices = journal.pending(n, retry_fallbacks=retry_fallbacks)
            n = sum(1 for _ in journal.pending(n, retry_fallbacks=retry_fallbacks))
        done = 0
        for batch in in_batches_of(rows_at_once(loaded.task), pending_rows(table, text, indices, modality)):
            chain.batch([row.text for row in batch], return_exceptions=True)
            done += len(batch)
            if progress is not None:
                progress("Scoring", done, n)
    return model
