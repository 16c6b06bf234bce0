"""Checks of a large model's plan, as pure validation of data. Nothing in a plan is evaluated or executed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import Annotated, Any, Literal, Self

from langchain_core.messages.ai import UsageMetadata
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import override

from dsplus_chains.planning.shape import places_in
from dsplus_chains.planning.skill import LONGEST_NAME
from dsplus_chains.running.messages import unique_keys, without_thoughts
from dsplus_chains.schema import (
    DSPlusError,
    shown,
)
from dsplus_chains.subtasks.combining import ResultTemplate
from dsplus_chains.subtasks.order import sorted_plan
from dsplus_chains.subtasks.subtask import NAME

DEEPEST = 10
"""How deep the brackets of an answer may nest. Those of a plan go four deep."""

TOLD = 5
"""How many of a plan's faults an error names."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # a string that is never closed goes on to the end of the text
_OBJECT = re.compile(r'\{\s*["}]')
_BRACKETS = {"{": 1, "[": 1, "}": -1, "]": -1}
_READER = json.JSONDecoder(object_pairs_hook=unique_keys)


class PlanError(DSPlusError, ValueError):
    """A value is no plan, or is a plan that cannot be run here."""


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


class PlannedStep(BaseModel):
    """One step of a plan: a skill, its question, and the steps whose results it needs.

    Args:
        name: Name of its result.
        skill: The name of a registered skill.
        needs: The names of the steps that come before.
        question: What the skill has to find out. None: its description says it all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    skill: str
    needs: tuple[str, ...] = ()
    question: Annotated[str | None, BeforeValidator(_none_if_blank)] = Field(default=None, max_length=500)

    @field_validator("name")
    @classmethod
    def _is_no_key(cls, name: str) -> str:
        if name == "input":
            msg = "Got a step named 'input', which is the text itself; expected another name"
            raise ValueError(msg)
        return name

    @field_validator("skill")
    @classmethod
    def _is_known(cls, skill: str, info: ValidationInfo) -> str:
        known = (info.context or {}).get("skills")
        if known is not None and skill not in known:
            msg = f"Got the skill {shown(skill)} but expected one of {sorted(known)}"
            raise ValueError(msg)
        return skill

    @override
    def __str__(self) -> str:
        asked = "" if self.question is None else f' "{self.question}"'
        after = f", given {', '.join(self.needs)}" if self.needs else ""
        return f"{self.name}: {self.skill}{asked}{after}"


class SubtaskPlan(BaseModel):
    """A plan as plain data. It says which skills run, in which order, and how their results become the answer.

    ``str(plan)`` reads as a list of steps. `model_dump` and `model_dump_json` give the plan as a model would write it.
    `SubtaskPlanner` takes the plan itself and both of these forms.

    Args:
        steps: The steps. Their needs decide the order.
        combine: How the answer is made. With "large_model", the large model answers, given the results. With
            "template", the results fill `template`. With "table", the results by name are the answer.
        template: A text with names of steps in braces, if the plan combines by "template".

    Raises:
        pydantic.ValidationError: There is no step. A name is given twice, or does not fit a prompt. A need is unknown,
            or the needs form a circle. The template is missing, not wanted, or names something that is no step. A key
            is unknown.

    Example:
        >>> print(SubtaskPlan(
        ...     steps=[
        ...         {"name": "tone", "skill": "sentiment"},
        ...         {"name": "why", "skill": "quote", "needs": ["tone"], "question": "What is the complaint?"},
        ...     ],
        ...     combine="template",
        ...     template="{tone}: {why}",
        ... ))
        1. tone: sentiment
        2. why: quote "What is the complaint?", given tone
        answer: "{tone}: {why}"
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[PlannedStep, ...]
    combine: Literal["large_model", "template", "table"] = "large_model"
    template: Annotated[str | None, BeforeValidator(_none_if_blank)] = Field(default=None, max_length=2000)

    @field_validator("steps", mode="before")
    @classmethod
    def _are_few(cls, steps: Any, info: ValidationInfo) -> Any:
        most = (info.context or {}).get("max_steps")
        if most is not None and isinstance(steps, (list, tuple)) and len(steps) > most:
            msg = f"Got {len(steps)} steps but expected at most {most}"
            raise ValueError(msg)
        return steps

    @model_validator(mode="after")
    def _can_be_run(self, info: ValidationInfo) -> Self:
        if not self.steps:
            msg = "Got a plan without steps but expected at least one"
            raise ValueError(msg)
        sorted_plan(self.steps)
        if (self.combine == "template") != (self.template is not None):
            got = "no template" if self.template is None else "a template"
            msg = f"Got {got} and combine={self.combine!r} but expected a template if it is 'template', and only then"
            raise ValueError(msg)
        if self.template is not None:
            known = ["input", *(step.name for step in self.steps)]
            if unknown := [name for name in ResultTemplate(template=self.template).names if name not in known]:
                msg = f"Got a template that names {unknown} but expected some of {known}"
                raise ValueError(msg)
        places = (info.context or {}).get("places")
        named = [
            place
            for text in (*(step.question for step in self.steps), self.template)
            for place in places_in(text or "")
        ]
        if places is not None and (unknown := [place for place in named if place not in places]):
            msg = f"Got the places {unknown[:TOLD]} but expected those of the request alone, which are {[*places]}"
            raise ValueError(msg)
        return self

    @override
    def __str__(self) -> str:
        steps = [f"{number}. {step}" for number, step in enumerate(self.steps, start=1)]
        how = {"large_model": "the large model, given the results", "table": "the results by name"}
        return "\n".join([*steps, f"answer: {how.get(self.combine) or json.dumps(self.template, ensure_ascii=False)}"])


class Planning(BaseModel):
    """How an input got its plan, and at what cost.

    Args:
        source: "large" if the large model was asked, "cache" if the plan was kept, "given" if the record held it.
        calls: Number of chat model calls for the plan. Inputs of one shape in a batch share their calls, which count
            for the first of them.
        usage: Tokens of these calls. None if there was no call, or one that did not report its tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["large", "cache", "given"]
    calls: int = Field(default=0, ge=0)
    usage: UsageMetadata | None = None


def check_plan(
    value: Any, *, skills: Collection[str], max_steps: int, places: Collection[str] | None = None
) -> SubtaskPlan:
    """The plan, if it can be run with these skills.

    Args:
        value: A plan, or its data.
        skills: The names of the available skills.
        max_steps: How many steps the plan may have.
        places: The places that its texts may name. None: any.

    Raises:
        PlanError: The plan cannot be run. Up to five faults are named.

    Example:
        >>> check_plan({"steps": [{"name": "a", "skill": "fly"}]}, skills=["sentiment"], max_steps=3)
        Traceback (most recent call last):
        ...
        dsplus_chains.planning.plan.PlanError: Got the skill 'fly' but expected one of ['sentiment']
    """
    data = value.model_dump() if isinstance(value, SubtaskPlan) else value
    try:
        return SubtaskPlan.model_validate(data, context={"skills": skills, "max_steps": max_steps, "places": places})
    except ValidationError as error:
        raise PlanError(_faults(error)) from error


def read_plan(
    text: str, *, skills: Collection[str], max_steps: int, longest: int, places: Collection[str] | None = None
) -> SubtaskPlan:
    """The plan in a model's answer, which is its first JSON object.

    An answer that is too long, or nests too deep, is not parsed at all.

    Args:
        text: The answer.
        skills: The names of the available skills.
        max_steps: How many steps the plan may have.
        longest: How many characters the answer may have.
        places: The places that the plan's texts may name. None: any.

    Raises:
        PlanError: The answer holds no plan that can be run.

    Example:
        >>> answer = 'Here you are: {"steps": [{"name": "tone", "skill": "sentiment"}], "combine": "table"}'
        >>> print(read_plan(answer, skills=["sentiment"], max_steps=3, longest=1000))
        1. tone: sentiment
        answer: the results by name
        >>> read_plan(answer, skills=["sentiment"], max_steps=3, longest=10)
        Traceback (most recent call last):
        ...
        dsplus_chains.planning.plan.PlanError: Got an answer of 85 characters but expected a plan of at most 10
    """
    if len(text) > longest:
        msg = f"Got an answer of {len(text):,} characters but expected a plan of at most {longest:,}"
        raise PlanError(msg)
    said = without_thoughts(text)
    start = _OBJECT.search(said)
    if start is None:
        msg = f"Got {shown(said.strip())} but expected one JSON object with the steps of a plan"
        raise PlanError(msg)
    found = said[start.start() :]
    bare = _STRING.sub("", found)
    if max(accumulate(_BRACKETS.get(sign, 0) for sign in bare)) > DEEPEST:
        msg = f"Got brackets that nest more than {DEEPEST} deep but expected a plan, whose own go four deep"
        raise PlanError(msg)
    try:
        data, _ = _READER.raw_decode(found)
    except ValueError as error:
        msg = f"Got an answer that is no JSON ({error}): {shown(found)}"
        raise PlanError(msg) from error
    return check_plan(data, skills=skills, max_steps=max_steps, places=places)


def _faults(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_url=False)[:TOLD]:
        where = ".".join(map(str, fault["loc"])) or "a plan"
        if fault["type"] == "value_error":
            faults.append(str(fault["ctx"]["error"])[:400])
        elif fault["type"] == "missing" or isinstance(fault["input"], Mapping):
            faults.append(f"{where}: {fault['msg']}")
        else:
            faults.append(f"Got {where}={shown(fault['input'])} but: {fault['msg']}")
    more = error.error_count() - len(faults)
    return "; ".join([*faults, f"and {more} more"] if more else faults)
