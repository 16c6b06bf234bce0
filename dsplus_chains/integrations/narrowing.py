"""`narrowed` is an app with structured output that is asked for a part of it."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

from dsplus_chains.integrations.app_hints import is_chat_model
from dsplus_chains.schema import WiringError

_FORMAT = "ls_structured_output_format"
"""The key under which LangChain tells what a chat model is bound to answer with."""


def narrowed(app: Runnable[Any, Any], part: Any, *, prompt: Runnable[Any, Any] | None = None) -> Runnable[Any, Any]:
    """The app with another schema in its ``with_structured_output``, and else as it was.

    What is wrapped around it stays: retries, fallbacks, bound arguments and configs. A fallback of another kind stays
    as it is.

    Args:
        app: An app that ends in ``chat_model.with_structured_output(...)``.
        part: The other schema.
        prompt: What stands in place of the steps before the chat model. None leaves them.

    Raises:
        WiringError: The app does not end so.
    """
    changed = _narrowed(app, part, prompt)
    if changed is None:
        msg = (
            f"Got {type(app).__name__} but expected an app that ends in chat_model.with_structured_output(...). Put "
            "the shunt around the app up to there, without include_raw, and put what comes after behind the shunt"
        )
        raise WiringError(msg)
    return changed


def _narrowed(app: Runnable[Any, Any], part: Any, prompt: Runnable[Any, Any] | None) -> Runnable[Any, Any] | None:
    """The narrowed app, or None if it holds no structured output at its end."""
    if isinstance(app, RunnableSequence):
        return _narrowed_sequence(app, part, prompt)
    if isinstance(app, RunnableBindingBase):
        return _with(app, "bound", _narrowed(app.bound, part, prompt))
    if isinstance(app, DynamicRunnable):
        return _with(app, "default", _narrowed(app.default, part, prompt))
    if isinstance(app, RunnableWithFallbacks):
        others = [_narrowed(other, part, prompt) or other for other in app.fallbacks]
        return _with(app, "runnable", _narrowed(app.runnable, part, prompt), fallbacks=others)
    return None


def _narrowed_sequence(
    app: RunnableSequence[Any, Any], part: Any, prompt: Runnable[Any, Any] | None
) -> Runnable[Any, Any] | None:
    steps = app.steps
    for number, step in enumerate(steps):
        again = _again(step, part)
        if again is not None and len(steps) - number == len(again.steps):
            changed: list[Any] = again.steps
            break
    else:
        number = len(steps) - 1
        last = _narrowed(steps[-1], part, None)
        if last is None:
            return None
        changed = [last]
    before = steps[:number] if prompt is None else [prompt]
    return RunnableSequence(*before, *changed, name=app.name)


def _again(step: Runnable[Any, Any], part: Any) -> RunnableSequence[Any, Any] | None:
    """The steps that the chat model of a binding has with another schema. None if the step is no such binding."""
    told = step.kwargs.get(_FORMAT) if isinstance(step, RunnableBindingBase) else None
    if not isinstance(step, RunnableBindingBase) or not told or not is_chat_model(step):
        return None
    settings = {name: value for name, value in told.get("kwargs", {}).items() if value is not None}
    model: Any = step.bound
    again = model.with_structured_output(part, **settings)
    return again if isinstance(again, RunnableSequence) else None


def _with(app: Any, name: str, changed: Runnable[Any, Any] | None, **others: Any) -> Runnable[Any, Any] | None:
    """A wrapper around the changed app. None if it is not changed."""
    if changed is None:
        return None
    wrapped: Runnable[Any, Any] = app.model_copy(update={name: changed, **others})
    return wrapped
