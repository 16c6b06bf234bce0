"""`MapParts`: run one step over all parts of a long input, and keep only what is relevant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BeforeValidator, Field
from typing_extensions import override

from dsplus_chains.documents.keep import Keep, PartResult
from dsplus_chains.documents.map_graph import map_graph
from dsplus_chains.documents.passages import Split, cut
from dsplus_chains.documents.reduce import numbered
from dsplus_chains.running.arm import feed, leading_prompt, without_answer
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager, Outcome, Work
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

Step = Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]


class PartError(DSPlusError):
    """A step failed on a part of a long input. `part` is the passage, and the cause is chained."""

    def __init__(self, message: str, *, part: Passage | None = None) -> None:
        super().__init__(message)
        self.part = part


class MapParts(BatchRunnable[Any, SubtaskResult]):
    """Cuts long inputs into parts, runs one step over the parts, and reduces the relevant ones to one result.

    All parts of the whole batch go through the step at once.

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

    Raises:
        InvalidInputError: The input holds no text.
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
    run: Step
    keep: Keep = Keep()
    reduce: Step = Field(default=numbered, validate_default=True)

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return get_unique_config_specs(spec for run in (self.run, self.reduce) for spec in run.config_specs)

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return map_graph(self, self.run, self.reduce, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        # Both are `Work`: cutting and choosing can take long, and the splitter can be the user's own code.
        batch = yield Work(_Batch, (self, inputs, run_manager, config))
        records, configs = batch.calls
        outcome = yield Ask(self.run, records, configs, kwargs)
        rows, kept, configs = yield Work(batch.take, (outcome,))
        return batch.finish(rows, (yield Ask(self.reduce, kept, configs)))


class _Batch:
    """One run of `MapParts`. A finished row holds its result, a failed row its error."""

    def __init__(self, runnable: MapParts, inputs: Sequence[Any], managers: Sequence[Any], config: Configs) -> None:
        self._keep = runnable.keep
        self._managers = managers
        self._config = config
        self._results: list[Any] = [None] * len(inputs)
        self._wanted: list[Any] = [None] * len(inputs)
        self._found: list[list[PartResult]] = [[] for _ in inputs]
        self._kept: list[list[PartResult]] = [[] for _ in inputs]
        self._spent = [UsageCollector() for _ in inputs]
        self._parts: list[tuple[int, Passage]] = []
        self.calls: tuple[list[dict[str, Any]], Configs] = ([], [])
        """Input of the step: the record of each part of each row, with its config."""
        prompt = leading_prompt(runnable.run)
        for row, value in enumerate(inputs):
            try:
                record = _record(value)
                passages = cut(record["document"], runnable.split)
                self._wanted[row] = self._keep.wanted(record)
                records = [feed(prompt, _of_part(record, passage), whose="a map's step") for passage in passages]
            except Exception as error:
                self._results[row] = error
                continue
            self._parts += [(row, passage) for passage in passages]
            self.calls[0].extend(records)
            self.calls[1].extend(self._traced(row, passage) for passage in passages)

    def take(self, outcome: Outcome) -> tuple[list[int], list[list[PartResult]], Configs]:
        """Take the step's result for each part. Return the rows to reduce, with the kept parts of each."""
        for (row, passage), output in zip(self._parts, outcome.outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                result = read_result(output)
                relevance = self._keep.relevance(result, read_prediction(output), self._wanted[row])
                self._found[row].append(PartResult(passage=passage, result=result, relevance=relevance))
            except Exception as error:
                self._fail(row, passage, error)
        rows = []
        for row, result in enumerate(self._results):
            if result is None:
                self._kept[row] = self._keep.choose(self._found[row])
                if self._kept[row]:
                    rows.append(row)
                else:
                    self._results[row] = self._nothing(row)
        configs = [watched(self._config[row], self._managers[row], "reduce", self._spent[row]) for row in rows]
        return rows, [self._kept[row] for row in rows], configs

    def finish(self, rows: Sequence[int], outcome: Outcome) -> list[Any]:
        """Take the reductions. Return the result of each row."""
        for row, output in zip(rows, outcome.outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                self._results[row] = self._reduced(row, read_result(output))
            except Exception as error:
                self._results[row] = error
        return self._results

    def _traced(self, row: int, passage: Passage) -> RunnableConfig:
        return traced(self._config[row], self._managers[row], f"part:{passage.number}")

    def _fail(self, row: int, passage: Passage, error: Exception) -> None:
        """Make a row fail at its first failed part. A `WiringError` is passed on as it is."""
        if self._results[row] is None:
            where = "" if passage.start is None else f" (from character {passage.start})"
            failure = PartError(f"part {passage.number}{where} failed: {describe_error(error)}", part=passage)
            failure.__cause__ = error
            self._results[row] = error if isinstance(error, WiringError) else failure

    def _nothing(self, row: int) -> SubtaskResult:
        n = len(self._found[row])
        reason = f"nothing relevant among {n} parts" if n else NOTHING_TO_READ
        return SubtaskResult(source=_source(self._found[row]), error=reason)

    def _reduced(self, row: int, said: SubtaskResult) -> SubtaskResult:
        kept, confidence = self._kept[row], said.confidence
        if confidence is None and self._keep.selects:
            confidence = max((part.relevance for part in kept if part.relevance is not None), default=None)
        told: dict[str, Any] = {
            "confidence": confidence,
            "passages": said.passages or tuple(part.passage for part in kept),
        }
        if said.source is None:
            spent = self._spent[row]
            told |= {"source": spent.source or _source(self._found[row]), "error": said.error or spent.failure}
        return SubtaskResult(**{**dict(said), **told})


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
