"""The journal of a run over a table. It keeps all answers on disk, so that a kill loses nothing.

Each line is a JSON object. The first line says which run it is. Then comes every reply of the large model, as soon as
it is there. The rows of a batch come once the batch is complete. Lines are only appended, and each one is synchronised
with the disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Self

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from dsplus_chains.schema import DSPlusError, hash_of_text

FORMAT = 1


class JournalError(DSPlusError, ValueError):
    """A journal is damaged, in use, or belongs to another run."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What tells one run from another. A run never takes the rows of another run.

    Args:
        bundle: SHA-256 of the bundle's manifest.
        input: SHA-256 of the input file.
        text: The column with the texts.
        large: The name of the large model.
    """

    bundle: str
    input: str
    text: str
    large: str


@dataclass(frozen=True, kw_only=True)
class AnsweredRow:
    """One row of the output.

    Args:
        row: Its index in the input.
        answer: The label.
        source: Who gave the answer.
        confidence: The confidence of the small model.
        error: Why the large model did not answer. None if it did, or was not asked.
    """

    row: int
    answer: Any
    source: str
    confidence: float | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How the rows so far were answered.

    Args:
        kept: Number of rows that the small model answered, because it was sure.
        deferred: Number of the other rows.
        fallback: Number of the deferred rows that the large model failed at.
        tokens: Tokens of all replies of the large model.
    """

    kept: int
    deferred: int
    fallback: int
    tokens: int

    def __str__(self) -> str:
        asked = f"{self.deferred:,} deferred ({self.fallback:,} of them fallback)"
        unknown = not self.tokens and self.deferred > self.fallback  # every reply takes some tokens
        return f"{self.kept:,} kept, {asked}, {'tokens unknown' if unknown else f'{self.tokens:,} tokens'}"


class Journal(BaseCache):
    """The answers of a run, in memory and on disk. As a LangChain cache, it keeps the large model's replies too.

    Args:
        path: The file. It is made if it is missing.
        identity: What tells the run from others.
        forget: Whether to forget replies from before the last complete batch. Then rows that the large model failed at
            are asked about again.

    Raises:
        JournalError: The file is the journal of another run, damaged, or in use by another process.
    """

    def __init__(self, path: Path, identity: RunIdentity, *, forget: bool = False) -> None:
        self.path = path
        self.rows: dict[int, AnsweredRow] = {}
        self._replies: dict[str, str] = {}
        self._tokens = 0
        self._lock = Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        try:
            _claim(self._file.fileno(), path)
            self._end = self._read(identity, forget=forget)
            self._file.truncate(self._end)
            if not self._end:
                self._append({"format": FORMAT, **vars(identity)})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def counts(self) -> Counts:
        """How the rows so far were answered."""
        sources = [row.source for row in self.rows.values()]
        kept, fallback = sources.count("small"), sources.count("fallback")
        return Counts(kept=kept, deferred=len(sources) - kept, fallback=fallback, tokens=self._tokens)

    def pending(self, n: int, *, retry_fallbacks: bool) -> list[int]:
        """The rows, out of `n`, that are still to be answered."""
        return [
            row for row in range(n) if row not in self.rows or (retry_fallbacks and self.rows[row].source == "fallback")
        ]

    def commit(self, rows: Sequence[AnsweredRow]) -> None:
        """Keep the rows of a batch: all of them, or none if the process is killed meanwhile."""
        self._append({"rows": [list(vars(row).values()) for row in rows]})
        self.rows.update({row.row: row for row in rows})

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        # By the prompt alone. The model's settings name its server, whose port may change after a restart.
        text = self._replies.get(hash_of_text(prompt))
        # Without the usage. Its tokens have been counted, and LangChain would add a cost of 0 to it.
        return None if text is None else [Generation(text=text)]

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        generation = return_val[0] if return_val else None
        if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
            return
        message = generation.message
        if message.text:  # a refusal has no text, and is no answer
            tokens = 0 if message.usage_metadata is None else message.usage_metadata["total_tokens"]
            reply = {"reply": hash_of_text(prompt), "text": str(message.text), "tokens": tokens}
            self._append(reply)
            with self._lock:
                self._take(reply)

    @override
    def clear(self, **kwargs: Any) -> None:
        self._replies.clear()

    def _take(self, reply: Mapping[str, Any]) -> None:
        self._replies[reply["reply"]] = reply["text"]
        self._tokens += reply["tokens"]

    def _append(self, entry: Mapping[str, Any]) -> None:
        packed = json.dumps(entry, default=str).encode() + b"\n"
        with self._lock:
            try:
                if self._file.write(packed) != len(packed):
                    msg = f"{self.path}: the disk took only part of a line; is it full?"
                    raise OSError(msg)
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._end)  # half a line must not run into the next one
                raise
            self._end += len(packed)

    def _read(self, identity: RunIdentity, *, forget: bool) -> int:
        """Read what is there. Return the length of the undamaged part."""
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        end = 0
        for number, line in enumerate(lines, start=1):
            try:
                if not line.endswith(b"\n"):
                    break  # cut short by a kill
                entry = json.loads(line)
                if number == 1:
                    self._check(entry, identity)
                elif "reply" in entry:
                    self._take(entry)
                else:
                    self.rows.update({row[0]: AnsweredRow(**_named(row)) for row in entry["rows"]})
                    if forget:
                        self._replies.clear()
            except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
                if isinstance(error, JournalError):
                    raise
                if number == len(lines) > 1:
                    break
                msg = f"{self.path}, line {number}: damaged ({error}); delete the file to start anew"
                raise JournalError(msg) from error
            end += len(line)
        return end

    def _check(self, header: Mapping[str, Any], identity: RunIdentity) -> None:
        names = ["format", *(field.name for field in fields(identity))]
        wanted = {"format": FORMAT, **vars(identity)}
        if other := [name for name in names if header.get(name) != wanted[name]]:
            msg = (
                f"{self.path}: got the journal of another run (another {' and another '.join(other)}) but expected "
                "this one's; delete it to start anew, or choose another --out"
            )
            raise JournalError(msg)


def journal_path(out: Path) -> Path:
    """The place of an output's journal, which is beside the output."""
    return out.with_name(f"{out.name}.journal.jsonl")


def _named(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip((field.name for field in fields(AnsweredRow)), values, strict=True))


def _claim(descriptor: int, path: Path) -> None:
    """Keep other processes off the journal, if the system can do this. A kill releases it again."""
    try:
        fcntl: Any = import_module("fcntl")
    except ImportError:
        return  # Windows
    lock: Callable[[int, int], None] = fcntl.flock
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        msg = f"{path}: got a journal that another dsplus run is writing; wait for it, or choose another --out"
        raise JournalError(msg) from error
    except OSError:
        return  # a file system without locks
