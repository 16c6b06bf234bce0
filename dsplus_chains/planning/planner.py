"""`SubtaskPlanner`: for a free-form request, the large model picks skills and connects them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self

from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from langchain_core.stores import BaseStore
from pydantic import Field, model_validator
from typing_extensions import override

from dsplus_chains.planning.placed_template import PlacedTemplate
from dsplus_chains.planning.plan import PlannedStep, SubtaskPlan, check_plan, read_plan
from dsplus_chains.planning.plan_cache import PlanCache
from dsplus_chains.planning.planning_prompt import RequestPrompt, planning_messages, planning_rules
from dsplus_chains.planning.planning_run import PlanningRun
from dsplus_chains.planning.shape import placed, question_of, request_shape
from dsplus_chains.planning.skill import Skill
from dsplus_chains.running.answer_stream import AnswerStream, answer_flow
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.drivers import adrive, drive
from dsplus_chains.running.flow import (
    Ask,
    Begin,
    Chunk,
    Completed,
    Configs,
    Do,
    Flow,
    Manager,
    Next,
    Open,
    StreamFlow,
)
from dsplus_chains.running.prompted import PromptedModel
from dsplus_chains.running.pulled_stream import END
from dsplus_chains.schema import ShuntRecord, hash_of_text
from dsplus_chains.subtasks.combining import ResultTemplate, as_table
from dsplus_chains.subtasks.decomposer import SubtaskDecomposer
from dsplus_chains.subtasks.plan_graph import plan_graph
from dsplus_chains.subtasks.subtask import Subtask

TURNS = 2
"""How often the large model is asked for a plan. The second time, it is told what was wrong."""


class SubtaskPlanner(BatchRunnable[Any, Any]):
    """Answers free-form requests. The large model plans which skills to run, and a `SubtaskDecomposer` runs them.

    In: a record with `input` (the text) and `request` (what is wanted of it). A plain text is both. Out: the record
    with `plan` (a `SubtaskPlan`), `planning` (how it came about, and at what cost), `subtasks`, `answer` and `source`.
    If the answer is the large model's, there is also `large`, and its tokens include those of the planning.

    A plan is JSON data. It is checked for known skills, needs without circles, and size. It is never executed as code.
    A plan that cannot be run goes back once, with what was wrong. If the second plan cannot be run either, or the call
    fails, the large model answers by itself. It is given the request and the input. Then `plan` is None, and `error`
    says why.

    Plans are kept by the shape of the request. So a request that differs only in numbers and short quotations needs no
    planning call. The model sees places instead of these values. The plan's questions and template may name the places.

    In a batch, all missing plans are asked for in one call. Inputs with the same plan go through it as one batch. A
    record that already holds a `plan` is run by that plan. You may have looked at it, or changed it.

    Args:
        llm: The large model. Any chat model. It plans, and combines the results if the plan says so.
        skills: The skills that plans may use.
        max_steps: How many steps a plan may have.
        max_answer: Most characters of an answer that is read as a plan. A longer answer is refused unread.
        shape: A function from a request to a text. Requests with the same text share a plan, including its questions.
            The model sees the first of them as it is. With `str`, each request has its own plan. None: `request_shape`.
        cache: Where plans are kept. Any LangChain store of bytes. Plans are checked again when read. None: nowhere.

    Raises:
        pydantic.ValidationError: No skill, a skill's name given twice, a bound out of range, or an unknown keyword.
        InvalidInputError: An input is no record, or its request is no text.
        PlanError: A given plan cannot be run. `plan` also raises it if the large model makes no plan that can be run.
        SubtaskError: A skill that is not optional failed.

    Source: Data Shunt+ (arXiv 2406.15471), prompt transferring. The extension to tasks that nobody has declared is
    ours.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> plan = '{"steps": [{"name": "size", "skill": "words"}], "combine": "template", "template": "{size} words"}'
        >>> def count(text):
        ...     return len(text.split())
        >>> words = Skill(name="words", description="Counts the words.", run=count, select="input")
        >>> planner = SubtaskPlanner(FakeListChatModel(responses=[plan]), skills=[words])
        >>> print(planner.plan("How long is it?"))
        1. size: words
        answer: "{size} words"
        >>> planner.invoke({"input": "broke at once", "request": "How long is it?"})["answer"]
        '3 words'
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    llm: PromptedModel
    skills: tuple[Skill, ...] = Field(min_length=1)
    max_steps: int = Field(default=8, ge=1, le=32)
    max_answer: int = Field(default=50_000, ge=100, le=1_000_000)
    shape: Callable[[str], str] | None = None
    cache: BaseStore[str, bytes] | None = Field(default_factory=PlanCache)

    def __init__(self, llm: Any, **settings: Any) -> None:
        super().__init__(**{"llm": llm, **settings})

    @model_validator(mode="after")
    def _skills_differ(self) -> Self:
        names = [skill.name for skill in self.skills]
        if len({*names}) < len(names):
            msg = f"Got skills named {names} but expected each name once"
            raise ValueError(msg)
        return self

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        runs = [self.llm, *(skill.run for skill in self.skills)]
        return get_unique_config_specs(spec for run in runs for spec in run.config_specs)

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """The graph of all possible plans: the planning, each skill after it (dotted), the large model's answer.

        The graph of one plan is ``planner.decomposer(plan).get_graph()``.
        """
        first = "plan"
        while any(skill.name == first for skill in self.skills):
            first += "_"
        perhaps = [
            Subtask(name=skill.name, run=skill.run, select=skill.select, needs=(first,), when=bool)
            for skill in self.skills
        ]
        return plan_graph(self, [Subtask(name=first, run=self.llm, select="input"), *perhaps], self.llm, config)

    def plan(self, request: str | dict[str, Any], config: RunnableConfig | None = None) -> SubtaskPlan:
        """The plan for a request, which is not run. Put into a record's `plan`, it is run as it is.

        Args:
            request: A request, or a record with one.
            config: LangChain's config of the run.

        Raises:
            PlanError: The large model made no plan that can be run, even when told the faults of the first.
            Exception: The large model failed with it.
        """
        plan: SubtaskPlan = self._batch_with_config(self._run_plans, [request], config)[0]
        return plan

    async def aplan(self, request: str | dict[str, Any], config: RunnableConfig | None = None) -> SubtaskPlan:
        """The same as `plan`, under async."""
        plan: SubtaskPlan = (await self._abatch_with_config(self._arun_plans, [request], config))[0]
        return plan

    def decomposer(self, plan: SubtaskPlan) -> SubtaskDecomposer:
        """A plan as a `SubtaskDecomposer`. It runs and draws the plan, and can be kept in its place.

        Args:
            plan: A plan for these skills.

        Raises:
            PlanError: The plan cannot be run.
        """
        checked, skills = self.check(plan), {skill.name: skill for skill in self.skills}
        subtasks = [self._subtask(step, skills) for step in checked.steps]
        if checked.combine == "large_model":
            return SubtaskDecomposer(subtasks=subtasks, combine=self._answering, source="large")
        if checked.template is None:
            return SubtaskDecomposer(subtasks=subtasks, combine=as_table)
        template = PlacedTemplate if self.shape is None else ResultTemplate
        return SubtaskDecomposer(subtasks=subtasks, combine=template(template=checked.template))

    def check(self, plan: Any, request: str | None = None) -> SubtaskPlan:
        """The plan, if it can be run with these skills.

        Args:
            plan: A plan, its data or its JSON.
            request: The request that it has to fit. It may name only the places of this request's shape. None: any.

        Raises:
            PlanError: The plan cannot be run.
        """
        if isinstance(plan, str):
            return self.read(plan, request)
        return check_plan(plan, skills=self._names, max_steps=self.max_steps, places=self._places(request))

    def read(self, text: str, request: str | None = None) -> SubtaskPlan:
        """The plan in a text, if it can be run with these skills.

        Args:
            text: An answer of the large model, or a plan's JSON.
            request: The request that the plan has to fit, as in `check`.

        Raises:
            PlanError: The text holds no plan that can be run.
        """
        places = self._places(request)
        return read_plan(text, skills=self._names, max_steps=self.max_steps, longest=self.max_answer, places=places)

    def conversation(self, request: str) -> list[BaseMessage]:
        """The messages that ask the large model for a plan."""
        shown = request if self.shape is not None else placed(request)[0]
        return planning_messages(self._rules, shown)

    def key(self, request: str) -> str:
        """The key of a request's plan in the cache: a hash of its shape, the skills and `max_steps`."""
        shape = (self.shape or request_shape)(request)
        return hash_of_text(f"{self._rules}\0{shape}")

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        run = PlanningRun(self, inputs, run_manager, config)
        yield from self._find(run)
        groups = run.groups()
        one_by_one = bool(config[0].get("max_concurrency"))  # a limit holds for all groups together
        for number, group in enumerate(groups):
            ask = Ask(self._arm(group.plan), group.records, group.configs, kwargs)
            if one_by_one or len(groups) == 1:
                run.merge(group.rows, (yield ask).outputs)
            else:
                yield Begin(number, ask)
        done = len(groups) if one_by_one or len(groups) == 1 else 0
        while done < len(groups):
            for number, outcome in (yield Completed()):
                run.merge(groups[number].rows, outcome.outputs)
                done += 1
        return run.results

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        run = PlanningRun(self, [value], [run_manager], [config])
        yield Chunk(run.known())
        yield from self._find(run)
        yield Chunk(run.planned())
        (group,) = run.groups()
        pieces = yield Open(self._arm(group.plan), group.records[0], group.configs[0], kwargs)
        if group.plan is None:
            answer = AnswerStream(group.records[0], source="large", collector=run.spent)
            yield from answer_flow(answer, pieces)
            return
        yield Next(pieces)  # the record, which has gone out already
        while (piece := (yield Next(pieces))) is not END:
            yield Chunk(run.retold(piece))

    def _find(self, run: PlanningRun) -> StreamFlow:
        """Find a plan for each row, or note why there is none."""
        if self.cache is not None and run.keys:
            run.recall((yield Do(self.cache.mget, self.cache.amget, (run.keys,))))
        for _ in range(TURNS):
            prompts, configs = run.asking()
            run.hear((yield Ask(self.llm, prompts, configs)).outputs)
        if self.cache is not None and run.learned:
            yield Do(self.cache.mset, self.cache.amset, (run.learned,))

    def _plans(self, inputs: list[Any], run_manager: list[Manager], config: Configs) -> Flow:
        """The plans alone. They are not run."""
        run = PlanningRun(self, inputs, run_manager, config)
        yield from self._find(run)
        return run.plans()

    def _run_plans(self, inputs: list[Any], run_manager: list[Any], config: Configs) -> list[Any]:
        plans: list[Any] = drive(self._plans(inputs, run_manager, config))
        return plans

    async def _arun_plans(self, inputs: list[Any], run_manager: list[Any], config: Configs) -> list[Any]:
        plans: list[Any] = await adrive(self._plans(inputs, run_manager, config))
        return plans

    def _arm(self, plan: SubtaskPlan | None) -> Runnable[Any, Any]:
        """The Runnable for the rows with this plan. Without a plan, the large model answers alone."""
        return self._answering if plan is None else self.decomposer(plan)

    @property
    def _answering(self) -> Runnable[Any, Any]:
        return RequestPrompt() | self.llm | StrOutputParser()

    def _subtask(self, step: PlannedStep, skills: dict[str, Skill]) -> Subtask:
        question = partial(question_of, question=step.question, places=self.shape is None)
        return skills[step.skill].subtask(step.name, needs=step.needs, question=question)

    def _places(self, request: str | None) -> list[str] | None:
        """The places that a plan for a request may name. None if no text counts as a place."""
        return None if request is None or self.shape is not None else [*placed(request)[1]]

    @property
    def _names(self) -> list[str]:
        return [skill.name for skill in self.skills]

    @property
    def _rules(self) -> str:
        return planning_rules(self.skills, self.max_steps)
