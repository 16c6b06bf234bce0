"""`SubtaskDecomposer`: a declared plan over one input, each subtask once a batch, then one combining step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.config import get_executor_for_config, patch_config
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from dsplus_chains._arm import AnswerStream, feed, leading_prompt, merge_answer, watch, without_answer
from dsplus_chains._runnable import AsyncManagers, BatchRunnable, Configs, Managers
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    ShuntRecord,
    SubtaskError,
    SubtaskResult,
    SubtaskResults,
    describe_error,
)
from dsplus_chains.subtasks.graph import plan_graph
from dsplus_chains.subtasks.plan import Subtask, levels


class _Job(NamedTuple):
    """One subtask over those rows of a batch that are still alive."""

    subtask: Subtask
    rows: list[int]
    inputs: list[dict[str, Any]]
    configs: Configs


class SubtaskDecomposer(BatchRunnable[Any, Any]):
    """Runs subtasks over an input, then one combining step that knows their results.

    In: a text, or a record. Out: the record with `subtasks` (a `SubtaskResult` by name) and what `combine` says:
    `answer`, `source`, `large`. Subtasks that need nothing of each other run concurrently; each one runs once a
    batch, not once an input. Subtasks that are shunts of their own keep easy inputs away from the large model.

    In `combine`'s prompt the variable `{subtasks}` reads as one line a result (`HintPromptBuilder` tells them without
    being asked).

    Args:
        subtasks: The plan.
        combine: What makes the answer of the results: any Runnable over the record.
        source: The `source` of the answer, if `combine` does not say.

    Raises:
        pydantic.ValidationError: A circle of needs, an unknown need, a name twice, an unknown keyword.
        SubtaskError: A subtask failed; it names the subtask, and the cause is chained.

    Source: Data Shunt+ (arXiv 2406.15471), prompt transferring: small models do the simple subtasks, and what they
    found enters the large model's prompt. The wording is ours.

    Example:
        >>> decomposer = SubtaskDecomposer(
        ...     subtasks=[
        ...         Subtask(name="words", run=lambda record: len(record["input"].split())),
        ...         Subtask(name="long", run=lambda r: r["subtasks"]["words"].value > 3, needs=("words",)),
        ...     ],
        ...     combine=lambda record: "long" if record["subtasks"]["long"].value else "short",
        ... )
        >>> decomposer.invoke("it broke at once")["answer"]
        'long'
    """

    subtasks: tuple[Subtask, ...]
    combine: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    source: str = Field(default="large", min_length=1)

    @model_validator(mode="after")
    def _plan_is_sound(self) -> Self:
        levels(self.subtasks)
        return self

    @property
    @override
    def InputType(self) -> Any:
        return str | dict[str, Any]

    @property
    @override
    def OutputType(self) -> Any:
        return ShuntRecord

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        runs = [*(subtask.run for subtask in self.subtasks), self.combine]
        return get_unique_config_specs(spec for run in runs for spec in run.config_specs)

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return plan_graph(self, self.subtasks, self.combine, config)

    @override
    def _run(self, inputs: list[Any], run_manager: Managers, config: Configs) -> list[Any]:
        results = [_start(value) for value in inputs]
        for level in levels(self.subtasks):
            jobs = self._jobs(level, results, run_manager, config)
            with get_executor_for_config(config[0]) as executor:
                for job, outputs in zip(jobs, executor.map(_do, jobs), strict=True):
                    _take(results, job, outputs)
        rows, records, configs, collectors = self._combining(results, run_manager, config)
        if rows:
            outputs = self.combine.batch(records, configs, return_exceptions=True)
            self._merge(results, rows, outputs, collectors)
        return results

    @override
    async def _arun(self, inputs: list[Any], run_manager: AsyncManagers, config: Configs, **kwargs: Any) -> list[Any]:
        results = [_start(value) for value in inputs]
        for level in levels(self.subtasks):
            jobs = self._jobs(level, results, run_manager, config)
            for job, outputs in zip(jobs, await asyncio.gather(*map(_ado, jobs)), strict=True):
                _take(results, job, outputs)
        rows, records, configs, collectors = self._combining(results, run_manager, config)
        if rows:
            outputs = await self.combine.abatch(records, configs, return_exceptions=True)
            self._merge(results, rows, outputs, collectors)
        return results

    @override
    def _run_stream(
        self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        results: list[Any] = [_start(value)]
        yield _known(results[0])
        for level in levels(self.subtasks):
            jobs = self._jobs(level, results, [run_manager], [config])
            with get_executor_for_config(config) as executor:
                for job, outputs in zip(jobs, executor.map(_do, jobs), strict=True):
                    _take(results, job, outputs)
            yield _found(results[0], level)
        _, records, configs, collectors = self._combining(results, [run_manager], [config])
        _raise_if_failed(results[0])
        stream = AnswerStream(results[0], source=self.source, collector=collectors[0])
        for piece in self.combine.stream(records[0], configs[0]):
            yield from stream.push(piece)
        yield from stream.finish()

    @override
    async def _arun_stream(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        results: list[Any] = [_start(value)]
        yield _known(results[0])
        for level in levels(self.subtasks):
            jobs = self._jobs(level, results, [run_manager], [config])
            for job, outputs in zip(jobs, await asyncio.gather(*map(_ado, jobs)), strict=True):
                _take(results, job, outputs)
            yield _found(results[0], level)
        _, records, configs, collectors = self._combining(results, [run_manager], [config])
        _raise_if_failed(results[0])
        stream = AnswerStream(results[0], source=self.source, collector=collectors[0])
        async for piece in self.combine.astream(records[0], configs[0]):
            for chunk in stream.push(piece):
                yield chunk
        for chunk in stream.finish():
            yield chunk

    def _jobs(self, level: list[Subtask], results: list[Any], run_manager: Any, config: Configs) -> list[_Job]:
        jobs = []
        for subtask in level:
            rows, inputs = _feed_all(subtask.run, results, needs=subtask.needs)
            tag = f"subtask:{subtask.name}"
            configs = [patch_config(config[row], callbacks=run_manager[row].get_child(tag)) for row in rows]
            jobs.append(_Job(subtask, rows, inputs, configs))
        return jobs

    def _combining(
        self, results: list[Any], run_manager: Any, config: Configs
    ) -> tuple[list[int], list[dict[str, Any]], Configs, list[Any]]:
        rows, records = _feed_all(self.combine, results, needs=None)
        watched = [watch(config[row], run_manager[row], "combine") for row in rows]
        return rows, records, [entry[0] for entry in watched], [entry[1] for entry in watched]

    def _merge(self, results: list[Any], rows: list[int], outputs: list[Any], collectors: list[Any]) -> None:
        for row, output, collector in zip(rows, outputs, collectors, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                results[row] = merge_answer(results[row], output, source=self.source, collector=collector)
            except Exception as error:
                results[row] = error


def _start(value: Any) -> dict[str, Any] | InvalidInputError:
    """The record that a plan starts from."""
    if isinstance(value, str):
        value = {"input": value}
    if isinstance(value, Mapping) and "input" in value:
        record = without_answer(value)
        return {**record, "subtasks": SubtaskResults(record.get("subtasks", {}))}
    got = sorted(map(str, value)) if isinstance(value, Mapping) else f"{value!r:.80} ({type(value).__name__})"
    return InvalidInputError(f"Got {got} but expected a text, or a record with the key 'input'")


def _feed_all(
    run: Runnable[Any, Any], results: list[Any], *, needs: tuple[str, ...] | None
) -> tuple[list[int], list[dict[str, Any]]]:
    """The rows that are still alive, and what a step sees of them: the record with the results that it needs."""
    prompt = leading_prompt(run)
    rows, inputs = [], []
    for row, record in enumerate(results):
        if isinstance(record, Exception):
            continue
        found = record["subtasks"]
        needed = found if needs is None else {name: result for name, result in found.items() if name in needs}
        try:
            inputs.append(feed(prompt, {**record, "subtasks": SubtaskResults(needed)}))
            rows.append(row)
        except InvalidInputError as error:
            results[row] = error
    return rows, inputs


def _do(job: _Job) -> list[Any]:
    return [] if not job.rows else job.subtask.run.batch(job.inputs, job.configs, return_exceptions=True)


async def _ado(job: _Job) -> list[Any]:
    return [] if not job.rows else await job.subtask.run.abatch(job.inputs, job.configs, return_exceptions=True)


def _take(results: list[Any], job: _Job, outputs: list[Any]) -> None:
    """Put the outputs of one subtask into the rows' records; a row whose subtask failed fails."""
    for row, output in zip(job.rows, outputs, strict=True):
        if isinstance(results[row], Exception):
            continue  # another subtask of the same level failed first
        if isinstance(output, Exception):
            name = job.subtask.name
            error = SubtaskError(f"subtask {name!r} failed: {describe_error(output)}", subtask=name)
            error.__cause__ = output
            results[row] = error
        else:
            found = SubtaskResults({job.subtask.name: _result(output)})
            results[row] = {**results[row], "subtasks": results[row]["subtasks"] + found}


def _result(output: Any) -> SubtaskResult:
    """What a Runnable's output says: a record's answer, a scorer's prediction, or any other value."""
    if isinstance(output, SubtaskResult):
        return output
    if isinstance(output, Mapping) and "answer" in output and "source" in output:
        large, prediction = output.get("large"), output.get("prediction")
        speaker = large if output["source"] == "large" else prediction
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
    return SubtaskResult(value=output)


def _raise_if_failed(result: Any) -> None:
    if isinstance(result, Exception):
        raise result


def _known(result: Any) -> AddableDict:
    """The first chunk of a stream: what the record holds before any subtask has run."""
    _raise_if_failed(result)
    return AddableDict({key: value for key, value in result.items() if key != "subtasks" or value})


def _found(result: Any, level: list[Subtask]) -> AddableDict:
    """The chunk that a finished level adds."""
    _raise_if_failed(result)
    found = {subtask.name: result["subtasks"][subtask.name] for subtask in level}
    return AddableDict(subtasks=SubtaskResults(found))
