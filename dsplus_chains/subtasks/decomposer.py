"""`SubtaskDecomposer`: a declared plan of subtasks, then one combining step."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from dsplus_chains.running.answer_stream import answer_flow
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Ask, Chunk, Configs, Flow, Manager, Open, StreamFlow
from dsplus_chains.schema import ShuntRecord
from dsplus_chains.subtasks.combining import ResultTemplate, combining_step
from dsplus_chains.subtasks.order import sorted_plan
from dsplus_chains.subtasks.plan_graph import plan_graph
from dsplus_chains.subtasks.plan_run import PlanRun
from dsplus_chains.subtasks.subtask import Subtask
from dsplus_chains.subtasks.subtask_flow import subtask_flow


class SubtaskDecomposer(BatchRunnable[Any, Any]):
    """Runs subtasks over an input, then one combining step that knows their results.

    In: a text, or a record. Out: the record with `subtasks` (a `SubtaskResult` by name) and what `combine` says:
    `answer`, `source`, `large`.

    A subtask starts as soon as all that it needs is done. Subtasks that do not need each other run side by side. Each
    one runs once a batch, not once an input. A subtask can be a shunt of its own, which keeps easy inputs away from the
    large model.

    In the prompt of `combine`, the variable `{subtasks}` reads as one line for each result. `HintPromptBuilder` adds
    these lines by itself. The name of a subtask reads as its value. The same holds for the `needs` in a subtask's own
    prompt. In a stream, each result comes as soon as it is there. Then the answer comes token by token.

    A custom event "dsplus_subtask" goes out for each input and each finished subtask. It tells who answered, how sure,
    and at what cost: `{name, source, confidence, calls, tokens, seconds}`.

    Args:
        subtasks: The subtasks of the plan.
        combine: What makes the answer out of the results. It is any Runnable over the record, a function (`as_table`,
            `majority_vote`), or a template over the values, ``"{domain}, {sentiment}"``.
        source: The `source` of the answer, if `combine` returns no record of its own. None: it depends on who answered.
            It is "large" if `combine` called a chat model, or if a result has the source "large" or "fused". Otherwise
            it is "small", and the record has no `large`. All calls of `combine` may fail, so that its own fallback
            (`with_fallbacks`) answers. Then "large" becomes "fallback", with the `error`. A subtask works the same way.
        resume: Whether a result that the record already holds is kept. Its subtask is not run again.

    Raises:
        pydantic.ValidationError: No subtask, a circle of needs, an unknown need, a name given twice, a template with
            unknown names, a bare model as `combine`, or an unknown keyword.
        SubtaskError: A subtask that is not optional failed. The error names the subtask, and the cause is chained.
        WiringError: The prompt of a step has a variable that the record lacks. Optional subtasks raise it too.

    Source: Data Shunt+ (arXiv 2406.15471), prompt transferring. Small models do the simple subtasks, and their results
    enter the large model's prompt. The wording is ours.

    Example:
        >>> decomposer = SubtaskDecomposer(
        ...     subtasks=[
        ...         Subtask(name="words", run=lambda record: len(record["input"].split())),
        ...         Subtask(name="long", run=lambda r: r["subtasks"]["words"].value > 3, needs=("words",)),
        ...     ],
        ...     combine="long: {long}, {words} words",
        ... )
        >>> decomposer.invoke("it broke at once")["answer"]
        'long: True, 4 words'
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    subtasks: tuple[Subtask, ...]
    combine: Annotated[Runnable[Any, Any], BeforeValidator(combining_step)]
    source: str | None = Field(default=None, min_length=1)
    resume: bool = False

    @model_validator(mode="after")
    def _plan_is_sound(self) -> Self:
        if not self.subtasks:
            msg = "Got no subtasks but expected at least one"
            raise ValueError(msg)
        sorted_plan(self.subtasks)
        known = ["input", *(subtask.name for subtask in self.subtasks)]
        template = self.combine.names if isinstance(self.combine, ResultTemplate) else []
        if unknown := [name for name in template if name not in known]:
            msg = f"Got a template that names {unknown} but expected some of {sorted(known)}; a function can say more"
            raise ValueError(msg)
        return self

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        runs = [*(subtask.step for subtask in self.subtasks), self.combine]
        return get_unique_config_specs(spec for run in runs for spec in run.config_specs)

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return plan_graph(self, self.subtasks, self.combine, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        plan = PlanRun(self, inputs, run_manager, config)
        yield from subtask_flow(plan, piecemeal=False)
        rows, records, configs = plan.combining()
        plan.merge(rows, (yield Ask(self.combine, records, configs, kwargs)))
        return plan.results

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        plan = PlanRun(self, [value], [run_manager], [config])
        yield Chunk(plan.known())
        yield from subtask_flow(plan, piecemeal=True)
        answer, record, arm_config = plan.streaming()
        pieces = yield Open(self.combine, record, arm_config, kwargs)
        yield from answer_flow(answer, pieces)
