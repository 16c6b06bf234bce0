"""`SubtaskDecomposer`: a declared plan over one input, each subtask once a batch, then one combining step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.config import get_executor_for_config
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, gather_with_concurrency, get_unique_config_specs
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from dsplus_chains._runnable import AsyncManagers, BatchRunnable, Configs, Managers
from dsplus_chains.schema import ShuntRecord
from dsplus_chains.subtasks.graph import plan_graph
from dsplus_chains.subtasks.plan import Subtask, levels
from dsplus_chains.subtasks.running import PlanRun, ado, do


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
    def _run(self, inputs: list[Any], run_manager: Managers, config: Configs, **kwargs: Any) -> list[Any]:
        plan = PlanRun(self, inputs, run_manager, config)
        for level in levels(self.subtasks):
            jobs = plan.jobs(level)
            with get_executor_for_config(config[0]) as executor:
                plan.take(jobs, list(executor.map(do, jobs)))
        rows, records, configs = plan.combining()
        if rows:
            plan.merge(rows, self.combine.batch(records, configs, return_exceptions=True, **kwargs))
        return plan.results

    @override
    async def _arun(self, inputs: list[Any], run_manager: AsyncManagers, config: Configs, **kwargs: Any) -> list[Any]:
        plan = PlanRun(self, inputs, run_manager, config)
        for level in levels(self.subtasks):
            jobs = plan.jobs(level)
            limit = config[0].get("max_concurrency")
            plan.take(jobs, await gather_with_concurrency(limit, *map(ado, jobs)))
        rows, records, configs = plan.combining()
        if rows:
            plan.merge(rows, await self.combine.abatch(records, configs, return_exceptions=True, **kwargs))
        return plan.results

    @override
    def _run_stream(
        self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        plan = PlanRun(self, [value], [run_manager], [config])
        yield plan.known()
        for level in levels(self.subtasks):
            jobs = plan.jobs(level)
            with get_executor_for_config(config) as executor:
                plan.take(jobs, list(executor.map(do, jobs)))
            yield plan.found(level)
        stream, record, arm_config = plan.streaming()
        for piece in self.combine.stream(record, arm_config, **kwargs):
            yield from stream.push(piece)
        yield from stream.finish()

    @override
    async def _arun_stream(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        plan = PlanRun(self, [value], [run_manager], [config])
        yield plan.known()
        for level in levels(self.subtasks):
            jobs = plan.jobs(level)
            plan.take(jobs, await gather_with_concurrency(config.get("max_concurrency"), *map(ado, jobs)))
            yield plan.found(level)
        stream, record, arm_config = plan.streaming()
        async for piece in self.combine.astream(record, arm_config, **kwargs):
            for chunk in stream.push(piece):
                yield chunk
        for chunk in stream.finish():
            yield chunk
