"""Structured answers: a chat model that can answer with nothing but one of some texts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.runnables import Runnable, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable, RunnableConfigurableAlternatives


def held_to(model: Runnable[Any, Any], choices: Sequence[str]) -> Runnable[Any, Any] | None:
    """The model, held to one of the choices by its structured output; None if it has none.

    The parser that LangChain puts behind it is left off: the message tells more, such as that the model refused.

    Args:
        model: A chat model, or one in a binding (`bind`, `with_retry`, `with_config`), which is kept.
        choices: The texts to choose from.

    Raises:
        ValueError: Its structured output cannot be one of these texts.
    """
    if isinstance(model, RunnableConfigurableAlternatives):
        return _alternatives_held_to(model, choices)
    if isinstance(model, RunnableBindingBase):
        bound = held_to(model.bound, choices)
        return None if bound is None else type(model)(**{**dict(model), "bound": bound})
    # Configurable fields are set per call, when it would be too late.
    if isinstance(model, DynamicRunnable) or not hasattr(model, "with_structured_output"):
        return None
    try:
        held = _with_schema(model, choices)
    except NotImplementedError:
        return None
    if isinstance(held, RunnableSequence) and isinstance(held.last, BaseOutputParser):
        first, *between = held.steps[:-1]
        return RunnableSequence(first, *between) if between else first
    return held


def _alternatives_held_to(
    model: RunnableConfigurableAlternatives[Any, Any], choices: Sequence[str]
) -> RunnableConfigurableAlternatives[Any, Any] | None:
    """The same alternatives, each held to the choices; None if one cannot be."""
    found = {
        name: one if isinstance(one, Runnable) else one()
        for name, one in {"": model.default, **model.alternatives}.items()
    }
    held = {name: bound for name, one in found.items() if (bound := held_to(one, choices)) is not None}
    if len(held) < len(found):
        return None
    default: Any = held.pop("")
    return model.model_copy(update={"default": default, "alternatives": held})


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
