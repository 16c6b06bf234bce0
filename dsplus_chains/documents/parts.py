"""`MapParts`: run one step over all parts of a long input, and keep only what is relevant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Self

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import Field, model_validator
from typing_extensions import override

from dsplus_chains.documents.keep import Keep, PartResult
from dsplus_chains.documents.map_graph import map_graph
from dsplus_chains.documents.passages import AT_ONCE, MOST_PARTS, Split, cut
from dsplus_chains.documents.reduce import numbered
from dsplus_chains.running.arm import OverRecord, feed, labels_named, leading_prompt, without_answer
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager, Work
from dsplus_chains.running.outputs import read_prediction, read_result
from dsplus_chains.running.usage import UsageCollector, traced, watched
from dsplus_chains.schema import (
    ASKED_LARGE,
    NOTHING_TO_READ,
    DSPlusError,
    Passage,
    SubtaskResult,
    WiringError,
    describe_error,
    read_text,
)


class PartError(DSPlusError):
    """A step failed on a part of a long input. `part` is the passage, and the cause is chained."""

    def __init__(self, message: str, *, part: Passage | None = None) -> None:
        super().__init__(message)
        self.part = part


class MapParts(BatchRunnable[Any, SubtaskResult]):
    """Cuts long inputs into parts, runs one step over the parts, and reduces the relevant ones to one result.

    All parts of the whole batch go through the step at once. If there are more than 10,000, they go in slices of that
    many.

    In: a text, or a record. Out: a `SubtaskResult`. Its `value` is the reduction. Its `passages` are the parts behind
    the reduction, with number, offset and text. If no part is left, the value is None, and `error` says why.

    The confidence is that of the reduction, if it has one. Otherwise, where parts can be left out, it is the highest
    relevance of a kept part. If the step's confidences are probabilities, something relevant was kept with at least
    this probability.

    The step gets one record for each part. It holds all that the input's record holds, such as a question. In it,
    `input` is the part, `part` is its `Passage`, and `document` is the whole text. What an earlier model said about the
    whole text (`prediction`, `answer`, …) is left out.

    Args:
        split: Where to cut: "sentences", "paragraphs", a text splitter, or a function from a text to its pieces.
        run: The step. Any Runnable or function over a part's record.
        keep: The rule that decides which parts are kept.
        reduce: Any Runnable or function over the list of `PartResult`s of the kept parts. It is not called if no part
            is kept.
        max_parts: Most parts of an input. An input with more is refused, since each part may cost a call.

    Raises:
        pydantic.ValidationError: A step is a bare model, `keep` names a label that the step does not know, or a keyword
            is unknown.
        InvalidInputError: The input holds no text, or has more than `max_parts` parts.
        PartError: The step failed on a part. Then the input of that part fails, but no other input.

    Source: The protocol of MinionS for long documents (arXiv 2502.15964). There a model writes the steps. Here they are
    declared.

    Example:
        >>> def mentions(record):
        ...     return record["question"] in record["input"].lower()
        >>> def values(parts):
        ...     return [part.result.value for part in parts]
        >>> facts = MapParts(split="sentences", run=mentions, reduce=values)
        >>> facts.invoke({"input": "The battery died. I like it. No battery!", "question": "battery"}).value
        [True, False, True]
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = SubtaskResult

    split: Split = "paragraphs"
    run: OverRecord
    keep: Keep = Keep()
    reduce: OverRecord = Field(default=numbered, validate_default=True)
    max_parts: int = Field(default=MOST_PARTS, ge=1)

    @model_validator(mode="after")
    def _keeps_by_labels_of_the_step(self) -> Self:
        self.keep.check(labels_named(self.run))
        return self

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return get_unique_config_specs(spec for run in (self.run, self.reduce) for spec in run.config_specs)

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return map_graph(self, self.run, self.reduce, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        # All but the calls is `Work`. Cutting and choosing can take long, and the splitter can be the user's own code.
        batch = _Batch(self, inputs, run_manager, config)
        while (parts := (yield Work(batch.next_parts, ()))).records:
            outcome = yield Ask(self.run, parts.records, parts.configs, kwargs)
            yield Work(batch.take, (outcome.outputs,))
        kept = batch.kept()
        return batch.finish((yield Ask(self.reduce, kept.records, kept.configs)).outputs)


class _Document:
    """One input, and what its parts have given so far. It is done as soon as it has a result or an error."""

    def __init__(self, keep: Keep, manager: Any, config: RunnableConfig) -> None:
        self._keep = keep
        self._manager = manager
        self._config = config
        self._wanted: Any = None
        self._n = 0
        self._source: str | None = None
        self._spent = UsageCollector()
        self.found: list[PartResult] = []
        """The result of each part. Once all are there, only those that are kept."""
        self.result: Any = None

    def begin(self, record: dict[str, Any], n: int) -> None:
        """Take the number of its parts."""
        self._wanted, self._n = self._keep.wanted(record), n
        self._choose_from_all()

    def traced(self, passage: Passage) -> RunnableConfig:
        """The config of the step for one part."""
        return traced(self._config, self._manager, f"part:{passage.number}")

    def add(self, passage: Passage, output: Any) -> None:
        """Take the step's output for a part. The first failed part is the document's error."""
        if self.result is not None:
            return
        try:
            if isinstance(output, Exception):
                raise output
            result = read_result(output)
            relevance = self._keep.relevance(result, read_prediction(output), self._wanted)
        except Exception as error:
            self.fail(error if isinstance(error, WiringError) else _part_error(passage, error))
            return
        self.found.append(PartResult(passage=passage, result=result, relevance=relevance))
        self._choose_from_all()

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.result, self.found = error, []

    def reducing(self) -> RunnableConfig:
        """The config of the reduction."""
        return watched(self._config, self._manager, "reduce", self._spent)

    def reduce(self, output: Any) -> None:
        """End with the output of the reduction."""
        try:
            if isinstance(output, Exception):
                raise output
            self.result = self._reduced(read_result(output))
        except Exception as error:
            self.fail(error)

    def _choose_from_all(self) -> None:
        """Let go of the parts that are not kept, once all parts have a result."""
        if len(self.found) < self._n:
            return
        self._source, self.found = _source(self.found), self._keep.choose(self.found)
        if not self.found:
            reason = f"nothing relevant among {self._n} parts" if self._n else NOTHING_TO_READ
            self.result = SubtaskResult(source=self._source, error=reason)

    def _reduced(self, said: SubtaskResult) -> SubtaskResult:
        confidence = said.confidence
        if confidence is None and self._keep.selects:
            confidence = max((part.relevance for part in self.found if part.relevance is not None), default=None)
        told: dict[str, Any] = {
            "confidence": confidence,
            "passages": said.passages or tuple(part.passage for part in self.found),
        }
        if said.source is None:
            told |= {"source": self._spent.source or self._source, "error": said.error or self._spent.failure}
        return SubtaskResult(**{**dict(said), **told})


class _Calls(NamedTuple):
    records: list[Any]
    configs: Configs


class _Part(NamedTuple):
    document: _Document
    passage: Passage
    record: dict[str, Any]


class _Batch:
    """One run of `MapParts`. Its documents are cut, asked about and chosen from in slices of parts."""

    def __init__(self, runnable: MapParts, inputs: Sequence[Any], managers: Sequence[Any], config: Configs) -> None:
        rows = zip(managers, config, strict=True)
        self._documents = [_Document(runnable.keep, manager, own) for manager, own in rows]
        self._parts = self._all_parts(runnable, inputs)
        self._asked: list[_Part] = []

    def next_parts(self) -> _Calls:
        """The next slice of parts, for the step. It is empty at the end."""
        self._asked = list(islice(self._parts, AT_ONCE))
        configs = [part.document.traced(part.passage) for part in self._asked]
        return _Calls([part.record for part in self._asked], configs)

    def take(self, outputs: Sequence[Any]) -> None:
        """Take the step's output for each part of the slice."""
        for part, output in zip(self._asked, outputs, strict=True):
            part.document.add(part.passage, output)

    def kept(self) -> _Calls:
        """The kept parts of each document that has any, for the reduction."""
        left = self._to_reduce()
        return _Calls([document.found for document in left], [document.reducing() for document in left])

    def finish(self, outputs: Sequence[Any]) -> list[Any]:
        """Take the reductions. Return the result of each row."""
        for document, output in zip(self._to_reduce(), outputs, strict=True):
            document.reduce(output)
        return [document.result for document in self._documents]

    def _to_reduce(self) -> list[_Document]:
        return [document for document in self._documents if document.result is None]

    def _all_parts(self, runnable: MapParts, inputs: Sequence[Any]) -> Iterator[_Part]:
        """The parts of one document after the other. A document is cut only when it is its turn."""
        prompt = leading_prompt(runnable.run)
        for document, value in zip(self._documents, inputs, strict=True):
            try:
                record = _record(value)
                passages = cut(record["document"], runnable.split, max_parts=runnable.max_parts)
                document.begin(record, len(passages))
                for passage in passages:
                    if document.result is not None:  # it has failed in an earlier slice
                        break
                    yield _Part(document, passage, feed(prompt, _of_part(record, passage), whose="a map's step"))
            except Exception as error:
                document.fail(error)


def _part_error(passage: Passage, cause: Exception) -> PartError:
    where = "" if passage.start is None else f" (from character {passage.start})"
    error = PartError(f"part {passage.number}{where} failed: {describe_error(cause)}", part=passage)
    error.__cause__ = cause
    return error


def _record(value: Any) -> dict[str, Any]:
    """The record whose text is cut. The text is also under `document`."""
    text = read_text(value, purpose="cut into parts")
    record = without_answer(value) if isinstance(value, Mapping) else {"input": text}
    return {**{key: item for key, item in record.items() if key not in {"prediction", "tiers"}}, "document": text}


def _of_part(record: dict[str, Any], passage: Passage) -> dict[str, Any]:
    return {**record, "input": passage.text, "part": passage}


def _source(parts: Sequence[PartResult]) -> str | None:
    """The source of the parts' results: "large" if the large model gave any, else "fallback" if there is one.

    Without these, it is the one source that all parts share, or None.
    """
    sources = {part.result.source for part in parts}
    if sources.intersection(ASKED_LARGE):
        return "large"
    if "fallback" in sources:
        return "fallback"
    return sources.pop() if len(sources) == 1 else None
