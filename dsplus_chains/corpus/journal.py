"""The journal of a run over a table, which keeps what has been answered, so that a kill loses nothing.

It is one SQLite file. Each reply of the large model is a row of its own, written as it comes. The rows of a batch are
written together, once the batch is complete. Nothing of it is held in memory but four numbers.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any, Self

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from dsplus_chains.corpus.answered import AnsweredRow, Counts, RunIdentity, told_apart, writable
from dsplus_chains.corpus.journal_error import JournalError, journal_error, journal_errors
from dsplus_chains.running.database_owner import claim
from dsplus_chains.running.endings import is_whole
from dsplus_chains.running.messages import answer_in
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import describe_error, hash_of_text, labels_outside, shown

FORMAT = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    prompt TEXT PRIMARY KEY, text TEXT NOT NULL, tokens INTEGER NOT NULL, batch INTEGER
);
CREATE INDEX IF NOT EXISTS under_way ON replies (batch) WHERE batch IS NOT NULL;
CREATE TABLE IF NOT EXISTS answers (
    row INTEGER PRIMARY KEY, answer TEXT NOT NULL, source TEXT NOT NULL, confidence REAL, error TEXT
);
"""

_PAGE = "SELECT row, answer, source, confidence, error FROM answers WHERE row > ? ORDER BY row LIMIT 1000"
_FIRST_FALLBACK = """
SELECT row, answer, source, confidence, error FROM answers WHERE source IN ('fallback', 'error') ORDER BY row LIMIT 1
"""
_KEEP_REPLY = """
INSERT INTO replies VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET text = excluded.text, tokens = tokens + excluded.tokens, batch = excluded.batch
"""
_FORGET_REPLIES = "UPDATE replies SET prompt = 'forgotten ' || rowid WHERE batch IS NULL"

_ANY = -1
"""Stands for the batch that is complete next."""
_batch: ContextVar[int] = ContextVar("batch", default=_ANY)


class Journal(BaseCache):
    """What a run has answered, on disk. As a LangChain cache it keeps the large model's replies too.

    Args:
        path: The file. It is made if it is not there.
        identity: What the run is of. A journal that holds nothing of another large model, or nothing at all, is taken
            over.
        labels: What rows may be answered with.
        forget: Whether replies for batches that are complete are not used again. Then rows that the large model failed
            at are asked about anew.

    Raises:
        JournalError: It is the journal of another run, is damaged, is in use by another process, or cannot be made. Or
            the disk is full.
        InvalidInputError: It is the database of another program or of another release.
    """

    def __init__(
        self, path: Path, identity: RunIdentity, *, labels: Sequence[Any] | None = None, forget: bool = False
    ) -> None:
        self.path = path
        self._labels = None if labels is None else tuple(labels)
        self._lock = Lock()
        self.failure: JournalError | None = None  # why nothing more can be kept, and nothing more is to be asked
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False, timeout=0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            msg = f"{path}: got a place where no journal can be written ({error}); choose another --out"
            raise JournalError(msg) from error
        try:
            self._open(identity, forget=forget)
        except sqlite3.Error as error:
            self.close()
            raise journal_error(path, error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which has everything. A thread that is writing to it ends that first."""
        with self._lock:
            self._database.close()

    @property
    def counts(self) -> Counts:
        """How the rows so far were answered."""
        with self._lock:
            return Counts(**self._counted)

    def __len__(self) -> int:
        """How many rows have an answer."""
        counts = self.counts
        return counts.kept + counts.deferred

    @property
    def under_way(self) -> int:
        """How many replies are kept of batches that are not complete."""
        return int(self._query("SELECT count(*) FROM replies WHERE batch IS NOT NULL")[0][0])

    def __bool__(self) -> bool:
        """An empty journal is one too; langchain-core before 1.5 asks ``if cache``."""
        return True

    def pending(self, n: int, *, retry_fallbacks: bool) -> Iterator[int]:
        """The rows, out of `n`, that are still to be answered, in their order."""
        done = "SELECT row FROM answers WHERE row >= ? AND source NOT IN ('fallback', 'error') ORDER BY row LIMIT 1000"
        if not retry_fallbacks:
            done = "SELECT row FROM answers WHERE row >= ? ORDER BY row LIMIT 1000"
        row = 0
        while row < n:
            answered = [found for (found,) in self._query(done, row)]
            if not answered:
                yield from range(row, n)
                return
            for found in answered:
                yield from range(row, min(found, n))
                row = found + 1

    def commit(self, rows: Sequence[AnsweredRow]) -> None:
        """Keep the rows of a batch: all of them, or none if the process is killed on the way.

        Raises:
            JournalError: An answer is no label. Or SQLite cannot write, for instance since the disk is full.
        """
        for row in rows:
            self._check(row)
        packed = [one.packed() for one in rows]
        numbers = [(one.row,) for one in rows]
        with journal_errors(self.path), self._lock, self._database:
            self._database.execute("BEGIN")
            earlier = [
                found
                for number in numbers
                for found in self._database.execute("SELECT source FROM answers WHERE row = ?", number)
            ]
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", packed)
            done = [(_ANY,), *numbers]
            self._database.executemany("UPDATE replies SET batch = NULL WHERE batch = ?", done)
        with self._lock:
            for (source,) in earlier:
                self._count(source, -1)
            for one in rows:
                self._count(one.source, 1)

    def check(self) -> None:
        """Stop where no more can be kept.

        Raises:
            JournalError: SQLite could not write or read.
        """
        if self.failure is not None:
            raise self.failure

    def answers(self) -> Iterator[AnsweredRow]:
        """All answered rows, in their order."""
        row = -1
        while page := self._query(_PAGE, row):
            yield from map(AnsweredRow.unpacked, page)
            row = page[-1][0]

    @property
    def first_fallback(self) -> AnsweredRow | None:
        """The first row that the large model failed at; None if there is none."""
        found = self._query(_FIRST_FALLBACK)
        return AnsweredRow.unpacked(found[0]) if found else None

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        self.check()  # a reply that cannot be kept is not asked for
        # By the prompt alone: the model's settings name its server, whose port may be another one after a restart.
        try:
            found = self._query("SELECT text FROM replies WHERE prompt = ?", hash_of_text(prompt))
        except JournalError as error:
            self._failed("a reply cannot be looked up", error)
            return None
        # No message with its usage: its tokens have been counted, and LangChain would add a cost of 0 to it.
        return [Generation(text=found[0][0])] if found else None

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        generation = return_val[0] if return_val else None
        if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
            return
        message = generation.message
        tokens = 0 if message.usage_metadata is None else message.usage_metadata["total_tokens"]
        with self._lock:  # whatever came was paid for
            self._counted["tokens"] += tokens
        said = answer_in(message)
        text = writable(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))
        if not text or not is_whole(message):  # what was refused or cut off is no answer
            return
        try:
            self._query(_KEEP_REPLY, hash_of_text(prompt), text, tokens, _batch.get())
        except JournalError as error:  # the answer stands
            self._failed("a reply cannot be kept", error)

    @override
    def clear(self, **kwargs: Any) -> None:
        with self._lock:
            self._database.execute("DELETE FROM replies")

    def _open(self, identity: RunIdentity, *, forget: bool) -> None:
        # One process alone; a kill gives the file free again. A kill of the machine may lose the last replies.
        mark = claim(self._database, self.path, _TABLES)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._database.execute(f"PRAGMA {pragma}")
        with self._database:
            self._database.executescript(f"BEGIN EXCLUSIVE; {_TABLES} {mark}")
            self._identify(identity)
        (tokens,) = self._database.execute("SELECT coalesce(sum(tokens), 0) FROM replies").fetchone()
        self._counted = {"kept": 0, "deferred": 0, "fallback": 0, "tokens": tokens}
        for source, number in self._database.execute("SELECT source, count(*) FROM answers GROUP BY source"):
            self._count(source, number)
        if forget:
            self._database.execute(_FORGET_REPLIES)

    def _identify(self, identity: RunIdentity) -> None:
        """Write whose journal it is into a new one, or one that has nothing of another run. Check any other."""
        wanted = {"format": str(FORMAT), **asdict(identity)}
        found = dict(self._database.execute("SELECT name, value FROM identity"))
        other = [name for name, value in wanted.items() if found.get(name) != value]
        if not found or (other and self._is_free(other)):
            self._database.executemany("INSERT OR REPLACE INTO identity VALUES (?, ?)", wanted.items())
            self._database.execute("DELETE FROM answers WHERE source != 'small'")
        elif other:
            msg = (
                f"{self.path}: got the journal of another run ({told_apart(other)}) but expected "
                "this one's; delete it to start anew, or choose another --out"
            )
            raise JournalError(msg)

    def _is_free(self, other: list[str]) -> bool:
        """Whether the other run's large model has answered nothing, and its small one nothing that ours would not."""
        sources = {source for (source,) in self._database.execute("SELECT DISTINCT source FROM answers")}
        (replies,) = self._database.execute("SELECT count(*) FROM replies").fetchone()
        alike = {"small", "fallback", "error"} if {*other} <= {"large", "server"} else set()
        return "format" not in other and not replies and sources <= alike

    def _count(self, source: str, number: int) -> None:
        self._counted["kept" if source == "small" else "deferred"] += number
        self._counted["fallback"] += number if source in {"fallback", "error"} else 0

    def _query(self, statement: str, *values: Any) -> list[Any]:
        with journal_errors(self.path), self._lock:
            return self._database.execute(statement, values).fetchall()

    def _failed(self, what: str, error: JournalError) -> None:
        """Take note that nothing can be kept. That is no news of a journal that was closed, as its run is over."""
        if isinstance(error.__cause__, sqlite3.ProgrammingError):
            tell_once(f"{self.path}: {what} ({describe_error(error.__cause__)})", "journal", str(self.path))
        else:
            self.failure = error

    def _check(self, row: AnsweredRow) -> None:
        is_label = isinstance(row.answer, (str, int))
        if row.source == "error" and row.answer is None:
            return
        if not is_label or (self._labels is not None and labels_outside([row.answer], self._labels)):
            msg = f"{self.path}: got {shown(row.answer)} for row {row.row + 1}, which is no label; it is not kept"
            raise JournalError(msg)


@contextmanager
def replies_of(first: int) -> Iterator[None]:
    """Replies that are kept within this context are for the batch that begins with this row."""
    token = _batch.set(first)
    try:
        yield
    finally:
        _batch.reset(token)


def journal_path(out: Path) -> Path:
    """The path of an output's journal, which is beside it."""
    return out.with_name(f"{out.name}.journal.sqlite")
