"""One run of a plan over a batch: what each subtask gets, what became of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import AddableDict

from dsplus_chains._arm import (
    AnswerStream,
    UsageCollector,
    feed,
    leading_prompt,
    merge_answer,
    watched,
    without_answer,
)
from dsplus_chains._runnable import Configs
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    SubtaskError,
    SubtaskResult,
    SubtaskResults,
    as_label,
    describe_error,
)
from dsplus_chains.subtasks.plan import Subtask


class Job(NamedTuple):
    """One subtask over those rows of a batch that are still alive."""

    subtask: Subtask
    rows: list[int]
    inputs: list[dict[str, Any]]
    configs: Configs


class Plan(Protocol):
    """What a run needs to know of its decomposer."""

    @property
    def combine(self) -> Runnable[Any, Any]:
        """The combining step."""

    @property
    def source(self) -> str:
        """The source of the answer, if the combining step does not say."""


class PlanRun:
    """The records of a batch on their way through a plan; a row that failed holds its error.

    The tokens of all chat model calls for a row, of its subtasks and of the combining step, are counted together.
    """

    def __init__(self, plan: Plan, inputs: Sequence[Any], run_manager: Sequence[Any], config: Configs) -> None:
        self._plan = plan
        self._managers = run_manager
        self._config = config
        self._collectors = [UsageCollector() for _ in inputs]
        self.results: list[Any] = [_start(value) for value in inputs]

    def jobs(self, level: Sequence[Subtask]) -> list[Job]:
        """What the subtasks of one level have to do; together they keep to the batch's `max_concurrency`."""
        limit = self._config[0].get("max_concurrency")
        share = None if limit is None else max(1, limit // len(level))
        jobs = []
        for subtask in level:
            rows, inputs = self._feed(subtask.run, subtask.needs, whose=f"subtask {subtask.name!r}")
            configs = [self._watch(row, f"subtask:{subtask.name}") for row in rows]
            if share is not None:
                for config in configs:
                    config["max_concurrency"] = share
            jobs.append(Job(subtask, rows, inputs, configs))
        return jobs

    def take(self, jobs: Sequence[Job], outputs: Sequence[Sequence[Any]]) -> None:
        """Put the outputs of finished subtasks into the rows' records; a row whose subtask failed fails."""
        for job, answers in zip(jobs, outputs, strict=True):
            name = job.subtask.name
            if len(answers) != len(job.rows):
                got = f"got {len(job.rows)} inputs but returned {len(answers)} results"
                answers = [SubtaskError(f"subtask {name!r} {got}", subtask=name)] * len(job.rows)  # noqa: PLW2901
            for row, output in zip(job.rows, answers, strict=True):
                record = self.results[row]
                if isinstance(record, Exception):
                    continue  # another subtask of the same level failed first
                if isinstance(output, Exception):
                    error = SubtaskError(f"subtask {name!r} failed: {describe_error(output)}", subtask=name)
                    error.__cause__ = output
                    self.results[row] = error
                else:
                    found = record["subtasks"] | {name: _result(output)}
                    self.results[row] = {**record, "subtasks": SubtaskResults(found)}

    def combining(self) -> tuple[list[int], list[dict[str, Any]], Configs]:
        """The rows that the combining step works on, with what it gets."""
        rows, records = self._feed(self._plan.combine, None, whose="the combining step")
        return rows, records, [self._watch(row, "combine") for row in rows]

    def merge(self, rows: Sequence[int], outputs: Sequence[Any]) -> None:
        """Put the combining step's outputs into the rows' records."""
        for row, output in zip(rows, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                self.results[row] = merge_answer(
                    self.results[row], output, source=self._plan.source, collector=self._collectors[row]
                )
            except Exception as error:
                self.results[row] = error

    def streaming(self) -> tuple[AnswerStream, dict[str, Any], RunnableConfig]:
        """For a run of one row: how the combining step's chunks become the record's, and what the step gets."""
        _, records, configs = self.combining()
        self._raise_if_failed()
        stream = AnswerStream(self.results[0], source=self._plan.source, collector=self._collectors[0])
        return stream, records[0], configs[0]

    def known(self) -> AddableDict:
        """For a run of one row: the first chunk, what the record holds before any subtask has run."""
        self._raise_if_failed()
        return AddableDict({key: value for key, value in self.results[0].items() if key != "subtasks" or value})

    def found(self, level: Sequence[Subtask]) -> AddableDict:
        """For a run of one row: the chunk that a finished level adds."""
        self._raise_if_failed()
        results = self.results[0]["subtasks"]
        return AddableDict(subtasks=SubtaskResults({subtask.name: results[subtask.name] for subtask in level}))

    def _feed(
        self, run: Runnable[Any, Any], needs: tuple[str, ...] | None, *, whose: str
    ) -> tuple[list[int], list[dict[str, Any]]]:
        """The rows that are still alive, and what a step sees of them: the record with the results that it needs."""
        prompt = leading_prompt(run)
        rows, inputs = [], []
        for row, record in enumerate(self.results):
            if isinstance(record, Exception):
                continue
            found = record["subtasks"]
            needed = found if needs is None else {name: result for name, result in found.items() if name in needs}
            try:
                inputs.append(feed(prompt, {**record, "subtasks": SubtaskResults(needed)}, whose=whose))
                rows.append(row)
            except InvalidInputError as error:
                self.results[row] = error
        return rows, inputs

    def _watch(self, row: int, tag: str) -> RunnableConfig:
        return watched(self._config[row], self._managers[row], tag, self._collectors[row])

    def _raise_if_failed(self) -> None:
        if isinstance(self.results[0], Exception):
            raise self.results[0]


def do(job: Job) -> list[Any]:
    """Run one subtask over its rows; an error of the whole batch is the error of each row."""
    try:
        return [] if not job.rows else job.subtask.run.batch(job.inputs, job.configs, return_exceptions=True)
    except Exception as error:  # a batch of one's own that does not heed return_exceptions
        return [error] * len(job.rows)


async def ado(job: Job) -> list[Any]:
    """The same under async."""
    try:
        return [] if not job.rows else await job.subtask.run.abatch(job.inputs, job.configs, return_exceptions=True)
    except Exception as error:
        return [error] * len(job.rows)


def _start(value: Any) -> dict[str, Any] | InvalidInputError:
    """The record that a plan starts from."""
    if isinstance(value, str):
        value = {"input": value}
    if isinstance(value, Mapping) and "input" in value:
        record = without_answer(value)
        earlier = record.get("subtasks")
        if earlier is None or isinstance(earlier, Mapping):
            return {**record, "subtasks": SubtaskResults(earlier or {})}
        return InvalidInputError(f"Got subtasks={earlier!r:.80} but expected results by name, as a decomposer writes")
    got = sorted(map(str, value)) if isinstance(value, Mapping) else f"{value!r:.80} ({type(value).__name__})"
    msg = (
        f"Got {got} but expected a text, or a record with the key 'input'. Put a scorer before, or "
        "RunnablePassthrough.assign(input=itemgetter(...))"
    )
    return InvalidInputError(msg)


def _result(output: Any) -> SubtaskResult:
    """What a Runnable's output says: a record's answer, a scorer's prediction, or any other value."""
    if isinstance(output, SubtaskResult):
        return output
    if isinstance(output, Mapping) and "answer" in output and "source" in output:
        speaker = output.get({"large": "large", "fused": "fused"}.get(output["source"], "prediction"))
        return SubtaskResult(
            value=output["answer"],
            confidence=getattr(speaker, "confidence", None),
            source=output["source"],
            error=output.get("error"),
        )
    if isinstance(output, Mapping) and isinstance(output.get("prediction"), Prediction):
        output = output["prediction"]
    if isinstance(output, Prediction):
        return SubtaskResult(value=output.label, confidence=output.confidence, source="small")
    return SubtaskResult(value=as_label(output.text if isinstance(output, BaseMessage) else output))
