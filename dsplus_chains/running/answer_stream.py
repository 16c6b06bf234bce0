"""`AnswerStream`: the chunks of a streaming arm as chunks of the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables.utils import AddableDict

from dsplus_chains.running.arm import ANSWER_KEYS, EmptyAnswerError, recounted, what_was_said, who_answered
from dsplus_chains.running.batch_runnable import add_chunks
from dsplus_chains.running.flow import END, Chunk, Next, StreamFlow
from dsplus_chains.running.usage import UsageCollector
from dsplus_chains.schema import as_label, is_record

_MISSING = object()


class AnswerStream:
    """The chunks of a streaming arm as chunks of the record, such that their sum is what `merge_answer` gives.

    Args:
        record: What has been yielded of the record so far.
        source: Who answers, if the arm does not say; a function is asked when the answer begins.
        collector: Counts the arm's tokens.
    """

    def __init__(self, record: dict[str, Any], *, source: str | Callable[[], str], collector: UsageCollector) -> None:
        self._record = record
        self._collector = collector
        self._total: Any = _MISSING
        self._held = AddableDict()
        self._waiting: list[Mapping[str, Any]] = []
        self.started = False
        """Whether any of the answer is out. Until then nothing is, and the caller may still fall back."""
        self._whose = source
        self.source = source if isinstance(source, str) else ""
        """Who answered, as far as the chunks so far tell."""

    def push(self, chunk: Any) -> Iterator[AddableDict]:
        """Take one chunk of the arm; yield at most one chunk of the record.

        Text is passed on as it comes, and so are the chunks of a record that repeats our input (a nested branch).
        Whatever else an arm yields, such as the growing objects of a JSON parser, is held back to its end, since
        only text may repeat a key.
        """
        if chunk is None:
            return
        chunk = as_label(chunk)
        self._total = chunk if self._total is _MISSING else add_chunks(self._total, chunk)
        if isinstance(chunk, (str, BaseMessage)):
            yield AddableDict(answer=chunk) if self.started else self._first(chunk)
            self.started = True
        elif isinstance(chunk, Mapping):
            self._waiting.append(chunk)
            if self._repeats_input:
                yield from self._release()

    def finish(self) -> Iterator[AddableDict]:
        """Take the end of the arm; yield what is left to say.

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

    def _first(self, answer: Any) -> AddableDict:
        """The chunk with which the answer begins, or which holds all of it."""
        source = self._whose if isinstance(self._whose, str) else self._whose()
        told = who_answered(source, self._record, self._collector)
        self.source = told["source"]
        return AddableDict(answer=answer, **told)

    @property
    def _repeats_input(self) -> bool:
        """Whether the arm speaks in records of its own, as a nested chain does."""
        total, known = self._total, self._record
        return isinstance(total, Mapping) and "input" in total and total["input"] is known.get("input", _MISSING)

    def _release(self) -> Iterator[AddableDict]:
        """What a nested record adds, from when its answer and source are known."""
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
        """What of a nested record has not been yielded yet; of the tiers, those that came on top."""
        news = AddableDict()
        for key, value in chunk.items():
            if key in ANSWER_KEYS or key not in self._record:
                news[key] = value
            elif key == "tiers" and isinstance(value, list) and isinstance(self._record["tiers"], list):
                news[key] = value[len(self._record["tiers"]) :]
            elif key in {"prediction", "subtasks"} and value != self._record[key]:
                news[key] = value
        return news


def answer_flow(answer: AnswerStream, pieces: Any) -> StreamFlow:
    """The flow of an arm's stream: its chunks, as chunks of the record.

    Args:
        answer: What makes chunks of the record of them.
        pieces: The arm's stream, as `Open` gave it.
    """
    while (piece := (yield Next(pieces))) is not END:
        for chunk in answer.push(piece):
            yield Chunk(chunk)
    for chunk in answer.finish():
        yield Chunk(chunk)
