"""The input and the output of a large arm, and how its output joins the record.

An arm is any Runnable that is asked when the small side is not sure. Examples are the large arm of a branch and the
combining step of a decomposer. It gets the record. It may answer with a plain value or with a record of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import HumanMessage
from langchain_core.prompts import BasePromptTemplate, MessagesPlaceholder
from langchain_core.runnables import (
    Runnable,
    RunnableAssign,
    RunnablePassthrough,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable
from langchain_core.runnables.configurable import DynamicRunnable
from pydantic import BeforeValidator

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.usage import UsageCollector
from dsplus_chains.schema import (
    DSPlusError,
    ImageInput,
    InvalidInputError,
    LargeAnswer,
    SubtaskResult,
    WiringError,
    as_label,
    is_record,
    what_came,
)

ANSWER_KEYS = ("answer", "answer_label", "source", "large", "error", "fused", "unfinished")
"""The keys that an answer writes. A record on its way in must not keep old ones."""

_RETOLD_KEYS = (*ANSWER_KEYS, "prediction", "tiers", "subtasks")
"""The keys for which an arm's own record wins."""

_OURS = ("input", "part", "subtasks")
"""The keys for which the record wins over a subtask of that name."""


class EmptyAnswerError(DSPlusError):
    """An arm ended without an answer."""


def leading_prompt(arm: Runnable[Any, Any]) -> BasePromptTemplate[Any] | None:
    """The prompt template that an arm starts with, whatever is wrapped around it. None if it starts otherwise."""
    first = leading_step(arm, RunnablePassthrough)
    return first if isinstance(first, BasePromptTemplate) else None


def takes_record(arm: Runnable[Any, Any]) -> bool:
    """Whether an arm starts with a Runnable of ours that works on the record. Keys may be assigned before it."""
    first = leading_step(arm, RunnablePassthrough, RunnableAssign)
    return isinstance(first, BatchRunnable) and first.takes_record


def reads_label(arm: Runnable[Any, Any]) -> bool:
    """Whether an arm ends by reading a label, as `LabelParser` and `LabelAsker` do. So its task is to name a label."""
    last = _step(arm, lambda steps: steps[-1])
    return isinstance(last, BatchRunnable) and last.reads_label


def labels_named(arm: Runnable[Any, Any]) -> tuple[Any, ...] | None:
    """The labels of a scorer, or of the parser that an arm ends with. None if they are not known."""
    last = _step(arm, lambda steps: steps[-1])
    if leading_step(arm) is not last and not reads_label(arm):
        return None  # the labels of a later step may be others, such as those that a mask takes out
    for part in (last, getattr(last, "parser", None)):
        if isinstance(known := getattr(part, "labels", None), (tuple, list)):
            return tuple(known)
    return None


def leading_step(arm: Runnable[Any, Any], *passed: type) -> Runnable[Any, Any]:
    """The first step of an arm that is of none of the passed types, whatever is wrapped around it."""
    return _step(arm, lambda steps: next((step for step in steps if type(step) not in passed), steps[-1]))


def _step(
    arm: Runnable[Any, Any], chosen: Callable[[Sequence[Runnable[Any, Any]]], Runnable[Any, Any]]
) -> Runnable[Any, Any]:
    """The chosen step of an arm's sequences, whatever is wrapped around it."""
    while True:
        if isinstance(arm, RunnableBindingBase):  # bind, with_config, with_retry
            arm = arm.bound
        elif isinstance(arm, RunnableWithFallbacks):
            arm = arm.runnable
        elif isinstance(arm, DynamicRunnable) and not isinstance(arm, BasePromptTemplate):  # configurable fields
            arm = arm.default
        elif isinstance(arm, RunnableSequence):
            arm = chosen(arm.steps)
        else:
            return arm


def over_record(step: Any) -> Runnable[Any, Any]:
    """A step that gets a record, or another value of ours, as a Runnable.

    Raises:
        WiringError: It begins with a model, which takes only texts and messages.
    """
    run: Runnable[Any, Any] = coerce_to_runnable(step)
    first = leading_step(run, RunnablePassthrough)
    if isinstance(first, BaseLanguageModel):
        msg = (
            f"Got a step that begins with {type(first).__name__}, a bare model, which takes texts and messages but no "
            "record; put a prompt before it (prompt | model), or a function"
        )
        raise WiringError(msg)
    return run


OverRecord = Annotated[Runnable[Any, Any], BeforeValidator(over_record)]
"""A step that gets a record, as a field of a class."""


def input_of(arm: Runnable[Any, Any], wants: Literal["auto", "record", "input"]) -> Callable[[dict[str, Any]], Any]:
    """The function from a record to what the large arm gets.

    Args:
        arm: The large arm.
        wants: What it wants; see `ConfidenceBranch`.
    """
    prompt = leading_prompt(arm)
    if wants == "input" or (wants == "auto" and prompt is None and not takes_record(arm)):
        return _called_with
    return partial(feed, prompt, whose="the large arm")


def _called_with(record: dict[str, Any]) -> Any:
    """What the chain was called with, the very object.

    Raises:
        InvalidInputError: The record does not hold it.
    """
    if "called_with" in record or "input" in record:
        value = record.get("called_with", record.get("input"))
        return value.given if isinstance(value, ImageInput) and value.given is not None else value
    msg = (
        f"Got {what_came(record)} but expected the original input under 'input', for an arm that is no prompt. Put a "
        'scorer before the branch, or let the arm take the record (wants="record")'
    )
    raise InvalidInputError(msg)


def feed(
    prompt: BasePromptTemplate[Any] | None, record: dict[str, Any], *, whose: str, subtasks: Collection[str] = ()
) -> dict[str, Any]:
    """The record in the form that an arm's prompt needs.

    Results of subtasks stand under their names, also where the caller has a key of that name. If the prompt has one
    variable, that variable may get `input`.

    Args:
        prompt: The prompt that the arm starts with, or None.
        record: The record for the arm.
        whose: The arm's name in an error.
        subtasks: The names of all subtasks of the plan. A variable with such a name never gets the `input`.

    Raises:
        WiringError: The prompt has a variable that the record does not hold.
    """
    if prompt is None:
        return record
    held = record.get("subtasks")
    found = held if isinstance(held, Mapping) else {}
    told = {name: _shown(found[name]) for name in prompt.input_variables if name in found and name not in _OURS}
    fed = {**record, **told}
    missing = [name for name in prompt.input_variables if name not in fed]
    if not missing:
        return fed
    if len(prompt.input_variables) == 1 and missing[0] not in subtasks and "input" in record:
        asked = record["input"]
        messages = any(isinstance(part, MessagesPlaceholder) for part in getattr(prompt, "messages", ()))
        return {**record, missing[0]: [HumanMessage(asked)] if messages and isinstance(asked, str) else asked}
    msg = (
        f"The prompt of {whose} wants {sorted(missing)}, which the record does not hold; it has {sorted(record)}. "
        "Rename the prompt's variables (results of subtasks are in {subtasks}, and each under its name), add the "
        "subtasks to `needs`, or add the keys before with RunnablePassthrough.assign"
    )
    raise WiringError(msg)


def _shown(result: Any) -> Any:
    return result.shown if isinstance(result, SubtaskResult) else result


def without_answer(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the record without the keys of an earlier answer."""
    return {key: value for key, value in record.items() if key not in ANSWER_KEYS}


def merge_answer(record: dict[str, Any], output: Any, *, source: str, collector: UsageCollector) -> dict[str, Any]:
    """The record with an arm's output in it.

    A plain value becomes the `answer`, and also the value of `large`. It is not put into `large` if the source is
    "small". The same holds if every call failed and another step stood in (`with_fallbacks`).

    A record is merged (`is_record`). Its answer, source, large model, error, predictions and subtasks win.

    Raises:
        EmptyAnswerError: The output is None.
    """
    if output is None:
        msg = "the large arm answered None; its last step must return the answer"
        raise EmptyAnswerError(msg)
    if is_record(output, record):
        told = {key: value for key, value in output.items() if key in _RETOLD_KEYS or key not in record}
        return {**record, **recounted(told, collector)}
    output = as_label(output)  # StrOutputParser returns a subclass of str
    told = who_answered(source, record, collector)
    return {**record, "answer": output, **told, **what_was_said(output, told["source"], collector)}


def who_answered(source: str, record: Mapping[str, Any], collector: UsageCollector) -> dict[str, Any]:
    """The source of the answer. If all calls of the large model failed, it is "fallback" and comes with the error.

    An earlier error keeps its place.
    """
    if source != "large" or collector.failure is None:
        return {"source": source}
    return {"source": "fallback", **({} if "error" in record else {"error": collector.failure})}


def what_was_said(answer: Any, source: str, collector: UsageCollector) -> dict[str, Any]:
    """The large model's answer for the record, where the answer is its own."""
    if source in {"small", "fallback"}:
        return {}
    return {"large": collector.answer(answer)}


def recounted(told: dict[str, Any], collector: UsageCollector) -> dict[str, Any]:
    """An arm's own record, with the tokens of all the arm's calls.

    Without this, its `large` would count only its last call.
    """
    large = told.get("large")
    if not isinstance(large, LargeAnswer):
        return told
    return {**told, "large": large.model_copy(update={"usage": collector.usage})}
