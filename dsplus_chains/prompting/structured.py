"""Structured answers: a chat model that can answer with nothing but one of some texts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.runnables import RouterRunnable, Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable, RunnableConfigurableAlternatives


def held_to(model: Runnable[Any, Any], choices: Sequence[str]) -> Runnable[Any, Any] | None:
    """The model, held to one of the choices by its structured output; None if it has none.

    Args:
        model: A chat model, or one in a binding (`bind`, `with_retry`, `with_config`), which is kept. Of several
            (`with_fallbacks`, `configurable_alternatives`), those that have no structured output stay as they are.
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
    # Configurable fields are set per call, when it would be too late.
    if isinstance(model, DynamicRunnable) or not hasattr(model, "with_structured_output"):
        return None
    return _without_parser(model, choices)


def rows_held_to(
    model: Runnable[Any, Any], choices: Sequence[tuple[str, ...]], prompts: list[Any]
) -> tuple[Runnable[Any, Any], list[Any]]:
    """The model, held to choices of its own for each row of a batch, and the batch as it takes it.

    Where all rows have the same choices it gets the batch as it is. Else each row goes to the model held to its own,
    side by side, as a chat model's batch goes. A model without structured output is left as it is.
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
    """The models, those held that can be; an empty list if none can."""
    held = [held_to(model, choices) for model in models]
    return [bound or model for bound, model in zip(held, models, strict=True)] if any(held) else []


def _without_parser(model: Any, choices: Sequence[str]) -> Runnable[Any, Any] | None:
    """A chat model's structured output without the parser behind it: the message tells more, such as a refusal."""
    try:
        held = _with_schema(model, choices)
    except NotImplementedError:
        return None
    if isinstance(held, RunnableSequence) and isinstance(held.last, BaseOutputParser):
        return held.first  # behind it, langchain-openai has a step that raises on a refusal
    return held


def _with_schema(model: Any, choices: Sequence[str]) -> Runnable[Any, Any]:
    """By a JSON schema, strictly where the model knows what that is; else, as `LocalChatModel` has it, by an Enum.

    The order matters: what takes schemas may take an Enum class for one, and make nonsense of its constructor.
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
    members = Enum("Answer", [(f"choice_{number}", choice) for number, choice in enumerate(choices)])  # type: ignore[misc]
    chosen: Runnable[Any, Any] = model.with_structured_output(members)
    return chosen
