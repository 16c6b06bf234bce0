"""One run of a plan over a batch. It decides which subtask starts when, and collects the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import AddableDict

from dsplus_chains.running.answer_stream import AnswerStream
from dsplus_chains.running.arm import feed, leading_prompt, merge_answer, without_answer
from dsplus_chains.running.flow import Configs, Outcome
from dsplus_chains.running.outputs import read_result
from dsplus_chains.running.usage import UsageCollector, watched
from dsplus_chains.schema import (
    ASKED_LARGE,
    SKIPPED,
    InvalidInputError,
    SubtaskError,
    SubtaskResult,
    SubtaskResults,
    WiringError,
    as_record,
    describe_error,
    what_came,
)
from dsplus_chains.subtasks.order import sorted_plan
from dsplus_chains.subtasks.subtask import Subtask

_EXPECTED = (
    "a text, or a record with the key 'input'. Put a scorer before, or "
    "RunnablePassthrough.assign(input=itemgetter(...))"
)


class Job(NamedTuple):
    """One subtask, with the rows of a batch for which it still has something to do."""

    subtask: Subtask
    rows: list[int]
    inputs: list[Any]
    configs: Configs
    collectors: list[UsageCollector]
    slots: int
    """How many slots of the batch's `max_concurrency` it holds."""


class Plan(Protocol):
    """What a run needs to know of its decomposer."""

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        """The subtasks, as declared."""

    @property
    def combine(self) -> Runnable[Any, Any]:
        """The combining step."""

    @property
    def source(self) -> str | None:
        """The source of the answer, if the combining step gives none. None if it depends on who answered."""

    @property
    def resume(self) -> bool:
        """Whether a result that the record already holds is kept."""


class PlanRun:
    """The records of a batch on their way through a plan. A failed row holds its error.

    The tokens of all chat model calls for a row are counted together, over its subtasks and the combining step.
    """

    def __init__(self, plan: Plan, inputs: Sequence[Any], run_manager: Sequence[Any], config: Configs) -> None:
        self._plan = plan
        self._managers = run_manager
        self._config = config
        self._subtasks = {subtask.name: subtask for subtask in plan.subtasks}
        self._order = {name: number for number, name in enumerate(self._subtasks)}
        self._sorter = sorted_plan(plan.subtasks)
        self._waiting: list[str] = []
        self._limit = config[0].get("max_concurrency")
        self._free = max(1, self._limit or 1)
        self._spent = [UsageCollector() for _ in inputs]
        self.results: list[Any] = [_start(value) for value in inputs]
        self._held = [self._holding(row) if plan.resume else frozenset[str]() for row in range(len(inputs))]

    @property
    def is_active(self) -> bool:
        """Whether there are subtasks to run, and rows to run them for."""
        return self._sorter.is_active() and not all(isinstance(record, Exception) for record in self.results)

    def start(self) -> list[Job]:
        """The subtasks that can start now, because all that they need is done.

        Under a `max_concurrency` they share its free slots. Subtasks without a slot wait.
        """
        self._waiting += sorted(self._sorter.get_ready(), key=self._order.__getitem__)
        begun = self._waiting if self._limit is None else self._waiting[: self._free]
        self._waiting = self._waiting[len(begun) :]
        share = 0 if self._limit is None else self._free // max(1, len(begun))
        self._free -= share * len(begun)
        return [self._job(self._subtasks[name], share) for name in begun]

    def take(self, job: Job, outcome: Outcome) -> None:
        """Put the outputs of a finished subtask, or its failures, into the rows' records."""
        self._free += job.slots
        self._sorter.done(job.subtask.name)
        seconds = outcome.seconds / max(1, len(job.rows))
        for row, given, output, spent in zip(job.rows, job.inputs, outcome.outputs, job.collectors, strict=True):
            self._spent[row].add(spent)
            try:
                if isinstance(output, Exception):
                    raise output
                self._put(row, job.subtask, job.subtask.judge(_result(output, given, spent, seconds)))
            except Exception as error:
                self._fail(row, job.subtask, error, spent=spent, seconds=seconds)

    def told(self, subtask: Subtask) -> list[tuple[Any, dict[str, Any]]]:
        """The events of a finished subtask: the run manager and the event of each row with a listener."""
        events = []
        for record, manager, held in zip(self.results, self._managers, self._held, strict=True):
            if manager.handlers and not isinstance(record, Exception) and subtask.name not in held:
                result: SubtaskResult = record["subtasks"][subtask.name]
                event = {
                    "name": subtask.name,
                    "source": result.source,
                    "confidence": result.confidence,
                    "calls": result.calls,
                    "tokens": result.usage["total_tokens"] if result.usage else None if result.calls else 0,
                    "seconds": result.seconds,
                }
                events.append((manager, event))
        return events

    def combining(self) -> tuple[list[int], list[Any], Configs]:
        """The rows for the combining step, with its inputs and configs."""
        prompt = leading_prompt(self._plan.combine)
        rows, records = [], []
        for row, record in self._alive():
            try:
                records.append(feed(prompt, record, whose="the combining step", subtasks=self._order))
                rows.append(row)
            except InvalidInputError as error:
                self.results[row] = error
        return rows, records, [self._watch(row, "combine", self._spent[row]) for row in rows]

    def merge(self, rows: Sequence[int], outcome: Outcome) -> None:
        """Put the combining step's outputs into the rows' records."""
        for row, output in zip(rows, outcome.outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                self.results[row] = merge_answer(
                    self.results[row], output, source=self._source(row), collector=self._spent[row]
                )
            except Exception as error:
                self.results[row] = error

    def streaming(self) -> tuple[AnswerStream, Any, RunnableConfig]:
        """For a run of one row: the stream of its answer, and the input and config of the combining step."""
        _, records, configs = self.combining()
        self._raise_if_failed()
        stream = AnswerStream(self.results[0], source=lambda: self._source(0), collector=self._spent[0])
        return stream, records[0], configs[0]

    def known(self) -> AddableDict:
        """For a run of one row: the first chunk, which is the record before any subtask has run."""
        self._raise_if_failed()
        return AddableDict({key: value for key, value in self.results[0].items() if key != "subtasks" or value})

    def found(self, subtask: Subtask) -> AddableDict:
        """For a run of one row: the chunk that a finished subtask adds."""
        self._raise_if_failed()
        return AddableDict(subtasks=SubtaskResults({subtask.name: self.results[0]["subtasks"][subtask.name]}))

    def _holding(self, row: int) -> frozenset[str]:
        """The names of the subtasks whose results a record holds before the plan is run. Their tokens are counted."""
        record = self.results[row]
        found = {} if isinstance(record, Exception) else record["subtasks"]
        held = frozenset(name for name in self._subtasks if isinstance(found.get(name), SubtaskResult))
        for name in held:
            self._spent[row].add_told(found[name].usage, found[name].calls)
        return held

    def _alive(self) -> list[tuple[int, dict[str, Any]]]:
        return [(row, record) for row, record in enumerate(self.results) if not isinstance(record, Exception)]

    def _job(self, subtask: Subtask, slots: int) -> Job:
        """The work of a subtask. A row that is skipped, or that cannot be fed, gets its result at once."""
        prompt = leading_prompt(subtask.step)
        job = Job(subtask, [], [], [], [], slots)
        for row, record in self._alive():
            if subtask.name in self._held[row]:
                continue
            needed = {name: result for name, result in record["subtasks"].items() if name in subtask.needs}
            known = {**record, "subtasks": SubtaskResults(needed)}
            try:
                if subtask.when is not None and not subtask.when(known):
                    self._put(row, subtask, SubtaskResult(source=SKIPPED))
                    continue
                seen = subtask.view(known)
                if isinstance(seen, dict):
                    seen = feed(prompt, seen, whose=f"subtask {subtask.name!r}", subtasks=self._order)
            except Exception as error:
                self._fail(row, subtask, error)
                continue
            collector = UsageCollector()
            config = self._watch(row, f"subtask:{subtask.name}", collector)
            if slots:
                config["max_concurrency"] = slots
            job.rows.append(row)
            job.inputs.append(seen)
            job.configs.append(config)
            job.collectors.append(collector)
        return job

    def _put(self, row: int, subtask: Subtask, result: SubtaskResult) -> None:
        """Add a result to a row's record. Results are kept in the order in which the subtasks are declared."""
        record = self.results[row]
        if not isinstance(record, Exception):  # another subtask has failed in the meantime
            found = sorted(
                {**record["subtasks"], subtask.name: result}.items(), key=lambda item: self._order.get(item[0], -1)
            )
            self.results[row] = {**record, "subtasks": SubtaskResults(found)}

    def _fail(
        self,
        row: int,
        subtask: Subtask,
        error: Exception,
        *,
        spent: UsageCollector | None = None,
        seconds: float | None = None,
    ) -> None:
        """Note that a row's subtask failed. A `WiringError` makes the row fail even if the subtask is optional."""
        if isinstance(self.results[row], Exception):
            return
        if isinstance(error, WiringError):
            self.results[row] = error
        elif subtask.optional:
            reason, costs = describe_error(error), spent or UsageCollector()
            self._put(row, subtask, SubtaskResult(error=reason, usage=costs.usage, calls=costs.calls, seconds=seconds))
        else:
            failure = SubtaskError(f"subtask {subtask.name!r} failed: {describe_error(error)}", subtask=subtask.name)
            failure.__cause__ = error
            self.results[row] = failure

    def _source(self, row: int) -> str:
        """Who answered. It is "large" if a chat model combined the results, or if one of them is the large model's."""
        if self._plan.source is not None:
            return self._plan.source
        found = self.results[row]["subtasks"]
        results = [found[name] for name in self._subtasks]
        combined = self._spent[row].calls > 0
        return "large" if combined or any(result.source in ASKED_LARGE for result in results) else "small"

    def _watch(self, row: int, tag: str, collector: UsageCollector) -> RunnableConfig:
        return watched(self._config[row], self._managers[row], tag, collector)

    def _raise_if_failed(self) -> None:
        if isinstance(self.results[0], Exception):
            raise self.results[0]


def _start(value: Any) -> dict[str, Any] | InvalidInputError:
    """The record that a plan starts from."""
    try:
        record = without_answer(as_record(value, expected=_EXPECTED))
    except InvalidInputError as error:
        return error
    earlier = record.get("subtasks")
    if earlier is None or isinstance(earlier, Mapping):
        return {**record, "subtasks": SubtaskResults(earlier or {})}
    return InvalidInputError(f"Got subtasks={what_came(earlier)} but expected results by name, as a decomposer writes")


def _result(output: Any, given: Any, spent: UsageCollector, seconds: float) -> SubtaskResult:
    """A Runnable's output as a result, with what it cost."""
    said = read_result(output, given)
    told: dict[str, Any] = {"usage": spent.usage, "calls": spent.calls, "seconds": seconds}
    if said.source is None:  # no source: a chat model, or its fallback, answered
        told |= {"source": spent.source, "error": said.error or spent.failure}
    return SubtaskResult(**{**dict(said), **told})
