"""Structured answers, which hold a chat model to one of several texts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.runnables import RouterRunnable, Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable, RunnableConfigurableAlternatives

from dsplus_chains.running.telling import tell_once

_FIELDS = (
    "A model with configurable_fields cannot be held to structured output, so it is asked for text. Make it of several "
    "models (configurable_alternatives), or leave the fields out"
)


def held_to(model: Runnable[Any, Any], choices: Sequence[str]) -> Runnable[Any, Any] | None:
    """The model, held to one of the choices by its structured output. None if it has no structured output.

    Args:
        model: Chat model, alone or in a binding (`bind`, `with_retry`, `with_config`). The binding is kept. There may
            be several models (`with_fallbacks`, `configurable_alternatives`). Those without structured output stay
            unchanged. So do those with configurable fields, which is told once.
        choices: The texts to choose from.

    Raises:
        ValueError: Its structured output cannot be one of these texts.
    """
    if isinstance(model, RunnableWithFallbacks):
        each = _each_held_to([model.runnable, *model.fallbacks], choices)
        return model.model_copy(update={"runnable": each[0], "fallbacks": each[1:]}) if each else None
    if isinstance(model, RunnableConfigurableAlternatives):
        others = [one if isinstance(one, Runnable) else one() for one in model.alternatives.values()]
        each = _each_held_to([model.default, *others], choices)
        named = dict(zip(model.alternatives, each[1:], strict=False))
        return model.model_copy(update={"default": each[0], "alternatives": named}) if each else None
    if isinstance(model, RunnableBindingBase):
        bound = held_to(model.bound, choices)
        return None if bound is None else type(model)(**{**dict(model), "bound": bound})
    if isinstance(model, DynamicRunnable):
        tell_once(_FIELDS)  # they are set at each call, which is too late to hold the model to a schema
        return None
    if not hasattr(model, "with_structured_output"):
        return None
    return _without_parser(model, choices)


def rows_held_to(
    model: Runnable[Any, Any], choices: Sequence[tuple[str, ...]], prompts: list[Any]
) -> tuple[Runnable[Any, Any], list[Any]]:
    """The model held to each row's own choices, and the batch in the form that it takes.

    If all rows have the same choices, it gets the batch unchanged. Else each row goes to the model held to its choices.
    The rows run side by side, as in a chat model's batch. A model without structured output stays unchanged.
    """
    names = {these: str(number) for number, these in enumerate(dict.fromkeys(choices))}
    held = {name: bound for these, name in names.items() if (bound := held_to(model, these)) is not None}
    if len(held) < len(names):
        return model, prompts
    if len(held) == 1:
        return held["0"], prompts
    addressed = [{"key": names[these], "input": prompt} for these, prompt in zip(choices, prompts, strict=True)]
    return RouterRunnable(runnables=held), addressed


def _each_held_to(models: Sequence[Runnable[Any, Any]], choices: Sequence[str]) -> list[Runnable[Any, Any]]:
    """The models, held where that is possible. An empty list if it is possible for none."""
    held = [held_to(model, choices) for model in models]
    return [bound or model for bound, model in zip(held, models, strict=True)] if any(held) else []


def _without_parser(model: Any, choices: Sequence[str]) -> Runnable[Any, Any] | None:
    """A chat model's structured output without the parser behind it.

    The raw message holds more, such as a refusal.
    """
    try:
        held = _with_schema(model, choices)
    except NotImplementedError:  # as LangChain says of a model without structured output
        return None
    if isinstance(held, RunnableSequence) and isinstance(held.last, BaseOutputParser):
        return held.first  # the next step of langchain-openai raises on a refusal
    return held


def _with_schema(model: Any, choices: Sequence[str]) -> Runnable[Any, Any]:
    """The model held by a JSON schema, or else by an Enum, as with `LocalChatModel`.

    The schema is strict where the model supports that. The order matters. A model that takes schemas may also accept an
    Enum class as one, and misread its constructor.
    """
    schema = {
        "title": "Answer",
        "description": "The one label that fits the input.",
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(choices)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    for settings in ({"strict": True}, {}):
        try:
            held: Runnable[Any, Any] = model.with_structured_output(schema, **settings)
        except (TypeError, ValueError):
            continue
        return held
    members = Enum("Answer", [(f"choice_{number}", choice) for number, choice in enumerate(choices)])  # type: ignore[misc]  # mypy knows no Enum that is made at run time
    chosen: Runnable[Any, Any] = model.with_structured_output(members)
    return chosen
