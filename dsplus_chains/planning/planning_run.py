"""One batch on its way to its plans. Some plans are given or known, and the others are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import AddableDict

from dsplus_chains.planning.plan import PlanError, Planning, SubtaskPlan
from dsplus_chains.planning.planning_prompt import correcting_messages
from dsplus_chains.planning.shape import request_of
from dsplus_chains.running.arm import merge_answer, recounted, without_answer
from dsplus_chains.running.flow import Configs
from dsplus_chains.running.usage import UsageCollector, watched
from dsplus_chains.schema import InvalidInputError, as_record, describe_error, what_came


class Planner(Protocol):
    """What a run needs to know of its planner."""

    def check(self, plan: Any, request: str) -> SubtaskPlan:
        """A plan, if it can be run for a request."""

    def read(self, text: str, request: str) -> SubtaskPlan:
        """The plan in a text, if it can be run for a request."""

    def key(self, request: str) -> str:
        """The key that requests with the same plan have in common."""

    def conversation(self, request: str) -> list[BaseMessage]:
        """The messages that ask for a plan."""


@dataclass
class _Open:
    """A request shape without a plan so far, and the rows that wait for it. The calls count for the first row."""

    rows: list[int]
    request: str
    messages: list[BaseMessage]
    fault: PlanError | None = None


class Group(NamedTuple):
    """The rows of a batch that are answered together. They have the same plan, or none of them has a plan."""

    plan: SubtaskPlan | None
    rows: list[int]
    records: list[Any]
    configs: Configs


class PlanningRun:
    """The records of a batch, each with its plan once there is one. A failed row holds its error.

    The tokens of all chat model calls for a row are counted together, over its plan and its answer.
    """

    def __init__(self, planner: Planner, inputs: Sequence[Any], run_manager: Sequence[Any], config: Configs) -> None:
        self._planner = planner
        self._managers = run_manager
        self._config = config
        self._spent = [UsageCollector() for _ in inputs]
        self._open: dict[str, _Open] = {}
        self._news: dict[int, dict[str, Any]] = {}
        self._learned: dict[str, SubtaskPlan] = {}
        self._turn = 0
        self._failures: dict[int, Exception] = {}
        self.results: list[Any] = [self._start(row, value) for row, value in enumerate(inputs)]

    def _start(self, row: int, value: Any) -> dict[str, Any] | Exception:
        """The row's record without an earlier answer. Its plan was given, or has to be found."""
        try:
            record = as_record(value, expected="a request, or a record with the keys 'input' and 'request'")
            request, given = request_of(record), record.get("plan")
            if given is not None:
                self._settle([row], self._planner.check(given, request), "given")
            elif (key := self._planner.key(request)) in self._open:
                self._open[key].rows.append(row)
            else:
                self._open[key] = _Open([row], request, self._planner.conversation(request))
        except Exception as error:
            return error
        return {name: held for name, held in without_answer(record).items() if name not in {"plan", "planning"}}

    @property
    def keys(self) -> list[str]:
        """The keys of the shapes whose plan is not known."""
        return list(self._open)

    def recall(self, found: Sequence[Any]) -> None:
        """Take the plans that a cache holds. A plan that cannot be run (any more) counts as not found."""
        for key, value in zip(self.keys, found, strict=True):
            if value is None:
                continue
            try:
                said = value if isinstance(value, str) else bytes(value).decode()
                plan = self._planner.read(said, self._open[key].request)
            except (TypeError, ValueError):
                continue
            self._settle(self._open.pop(key).rows, plan, "cache")

    def asking(self) -> tuple[list[Any], Configs]:
        """The prompts that ask for the missing plans, one for each shape."""
        self._turn += 1
        prompts = [ChatPromptValue(messages=shape.messages) for shape in self._open.values()]
        return prompts, [self._watch(shape.rows[0], f"plan:{self._turn}") for shape in self._open.values()]

    def hear(self, answers: Sequence[Any]) -> None:
        """Take the answers. A shape whose first answer is no plan is asked about once more, with what was wrong."""
        for key, answer in zip(self.keys, answers, strict=True):
            shape = self._open[key]
            try:
                if isinstance(answer, Exception):
                    raise answer
                said = _said(answer)
                plan = self._planner.read(said, shape.request)
            except PlanError as error:
                if shape.fault is None:
                    shape.messages, shape.fault = correcting_messages(shape.messages, said, str(error)), error
                    continue
                self._give_up(self._open.pop(key).rows, error)
            except Exception as error:
                self._give_up(self._open.pop(key).rows, shape.fault or error)
            else:
                self._learned[key] = plan
                self._settle(self._open.pop(key).rows, plan, "large")

    @property
    def learned(self) -> list[tuple[str, bytes]]:
        """The plans that were made in this run, for a cache."""
        return [(key, plan.model_dump_json().encode()) for key, plan in self._learned.items()]

    def plans(self) -> list[SubtaskPlan | Exception]:
        """The plan of each row, or why there is none."""
        return [
            result if isinstance(result, Exception) else self._failures.get(row) or self._news[row]["plan"]
            for row, result in enumerate(self.results)
        ]

    def groups(self) -> list[Group]:
        """The rows that are answered together. From here on, the records hold their plans."""
        rows: dict[SubtaskPlan | None, list[int]] = {}
        for row, record in enumerate(self.results):
            if not isinstance(record, Exception):
                self.results[row] = {**record, **self._news[row]}
                rows.setdefault(self._news[row]["plan"], []).append(row)
        return [
            Group(
                plan, members, [self.results[row] for row in members], [self._watch(row, "answer") for row in members]
            )
            for plan, members in rows.items()
        ]

    def merge(self, rows: Sequence[int], outputs: Sequence[Any]) -> None:
        """Put answers into the rows' records."""
        for row, output in zip(rows, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                self.results[row] = merge_answer(self.results[row], output, source="large", collector=self._spent[row])
            except Exception as error:
                self.results[row] = error

    def known(self) -> AddableDict:
        """For a run of one row: the first chunk, the record without a plan."""
        if isinstance(self.results[0], Exception):
            raise self.results[0]
        return AddableDict(self.results[0])

    def planned(self) -> AddableDict:
        """For a run of one row: the chunk with the plan."""
        return AddableDict(self._news[0])

    def retold(self, chunk: Mapping[str, Any]) -> AddableDict:
        """For a run of one row: a chunk of its plan's run, with the tokens of the planning added."""
        return AddableDict(recounted(dict(chunk), self._spent[0]))

    @property
    def spent(self) -> UsageCollector:
        """For a run of one row: the usage of all its calls."""
        return self._spent[0]

    def _settle(
        self, rows: Sequence[int], plan: SubtaskPlan | None, source: str, error: Exception | None = None
    ) -> None:
        for number, row in enumerate(rows):
            spent = self._spent[row]
            costs = {"calls": spent.calls, "usage": spent.usage} if number == 0 else {}
            self._news[row] = {"plan": plan, "planning": Planning(source=source, **costs)}
            if error is not None:
                self._news[row]["error"] = describe_error(error)

    def _give_up(self, rows: Sequence[int], error: Exception) -> None:
        self._settle(rows, None, "large", error)
        self._failures.update(dict.fromkeys(rows, error))

    def _watch(self, row: int, tag: str) -> RunnableConfig:
        return watched(self._config[row], self._managers[row], tag, self._spent[row])


def _said(answer: Any) -> str:
    said = answer.text if isinstance(answer, BaseMessage) else answer
    if isinstance(said, str):
        return str(said)
    msg = f"Got {what_came(said)} as a plan but expected a message or a text; leave structured output off"
    raise InvalidInputError(msg)
