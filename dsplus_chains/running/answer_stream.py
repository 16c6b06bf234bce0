"""`AnswerStream` turns the chunks of a streaming arm into chunks of the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables.utils import AddableDict

from dsplus_chains.running.arm import (
    ANSWER_KEYS,
    EmptyAnswerError,
    recounted,
    what_was_said,
    who_answered,
    without_answer,
)
from dsplus_chains.running.batch_runnable import add_chunks
from dsplus_chains.running.flow import Chunk, Next, StreamFlow
from dsplus_chains.running.pulled_stream import END
from dsplus_chains.running.usage import UsageCollector
from dsplus_chains.schema import as_label, is_record

UNFINISHED: Mapping[str, Any] = {"answer_label": None, "unfinished": True}
"""The keys of a record whose answer is only a part, or None. It stands for no label."""

_MISSING = object()


class AnswerStream:
    """Turns the chunks of a streaming arm into chunks of the record.

    The sum of its chunks is what `merge_answer` gives.

    Args:
        record: The part of the record that has been yielded so far.
        source: Who answers, if the arm does not say. A function is called when the answer begins.
        collector: Collector of the arm's tokens.
    """

    def __init__(self, record: dict[str, Any], *, source: str | Callable[[], str], collector: UsageCollector) -> None:
        self._record = record
        self._collector = collector
        self._total: Any = _MISSING
        self._held, self._out = AddableDict(), AddableDict()
        self._waiting: list[Mapping[str, Any]] = []
        self.started = False
        """Whether a part of the answer is out. Until then the caller may still fall back."""
        self.ended = False
        """Whether all of it has come."""
        self._whose = source
        self.source = source if isinstance(source, str) else ""
        """Who answered, as far as the chunks show it by now."""

    def push(self, chunk: Any) -> Iterator[AddableDict]:
        """Take one chunk of the arm, and yield at most one chunk of the record.

        Text is passed on as it comes. So are the chunks of a record that repeats our input (a nested branch). Anything
        else is held back to its end, such as the growing objects of a JSON parser. Only text may come in several chunks
        under one key.
        """
        if chunk is None:
            return
        chunk = as_label(chunk)
        self._total = chunk if self._total is _MISSING else add_chunks(self._total, chunk)
        if isinstance(chunk, (str, BaseMessage)):
            piece = AddableDict(answer=chunk) if self.started else self._first(chunk)
            self.started = True
            yield piece
        elif isinstance(chunk, Mapping):
            self._waiting.append(chunk)
            if self._repeats_input:
                yield from self._release()

    def finish(self) -> Iterator[AddableDict]:
        """Take the end of the arm, and yield what is left to say.

        Raises:
            EmptyAnswerError: The arm yielded nothing, or only None.
        """
        total = self._total
        if total is _MISSING:
            msg = "the large arm ended without a chunk; its last step must yield the answer"
            raise EmptyAnswerError(msg)
        if is_record(total, self._record):
            if not self.started:
                self.source = total["source"]
                yield AddableDict(recounted(self._news(total), self._collector))
            return
        if not self.started:
            yield self._first(total)
        if said := what_was_said(total, self.source, self._collector):
            yield AddableDict(said)

    def told(self, chunk: AddableDict) -> AddableDict:
        """A chunk on its way out, which is remembered."""
        self._out = self._out + chunk
        return chunk

    @property
    def so_far(self) -> dict[str, Any]:
        """The record of the answer so far, for where nobody waits for the rest. Unless it is whole, it is marked so."""
        told = AddableDict(without_answer(self._record)) + self._out
        return told if self.ended else {"answer": None, "source": self.source or "large", **told, **UNFINISHED}

    def _first(self, answer: Any) -> AddableDict:
        """The chunk that begins the answer, or holds all of it."""
        source = self._whose if isinstance(self._whose, str) else self._whose()
        told = who_answered(source, self._record, self._collector)
        self.source = told["source"]
        return AddableDict(answer=answer, **told)

    @property
    def _repeats_input(self) -> bool:
        """Whether the arm yields records of its own, as a nested chain does."""
        total, known = self._total, self._record
        return isinstance(total, Mapping) and "input" in total and total["input"] is known.get("input", _MISSING)

    def _release(self) -> Iterator[AddableDict]:
        """The news of a nested record, once its answer and source are known."""
        for chunk in self._waiting:
            self._held += self._news(chunk)
        self._waiting.clear()
        self._held = AddableDict(recounted(self._held, self._collector))
        if self._held and (self.started or is_record(self._total, self._record)):
            self.started = True
            self.source = self._held.get("source", self.source)
            held, self._held = self._held, AddableDict()
            yield held

    def _news(self, chunk: Mapping[str, Any]) -> AddableDict:
        """The part of a nested record that has not been yielded yet. Of `tiers` it is the new ones."""
        news = AddableDict()
        for key, value in chunk.items():
            if key in ANSWER_KEYS or key not in self._record:
                news[key] = value
            elif key == "tiers" and isinstance(value, list) and isinstance(self._record["tiers"], list):
                news[key] = value[len(self._record["tiers"]) :]
            elif key in {"prediction", "subtasks"} and value != self._record[key]:
                news[key] = value
        return news


def unfinished(record: Mapping[str, Any]) -> dict[str, bool]:
    """What an event tells of a record beside who decided: whether its answer is only a part."""
    return {"unfinished": True} if record.get("unfinished") else {}


def answer_flow(answer: AnswerStream, pieces: Any, until: float | None = None) -> StreamFlow:
    """The flow of an arm's stream, with its chunks as chunks of the record.

    Args:
        answer: Maker of the record's chunks.
        pieces: The arm's stream, as `Open` gave it.
        until: When the whole answer has to be there, as a point of `time.monotonic`. None: at any time.
    """
    while (piece := (yield Next(pieces, until))) is not END:
        for chunk in answer.push(piece):
            yield Chunk(answer.told(chunk))
    for chunk in [answer.told(chunk) for chunk in answer.finish()]:
        answer.ended = True
        yield Chunk(chunk)
