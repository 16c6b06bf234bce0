"""The steps inside of an app: what is wrapped around them, and how some of them become others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import (
    Runnable,
    RunnableAssign,
    RunnableBranch,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, RunnableEachBase
from langchain_core.runnables.configurable import DynamicRunnable, RunnableConfigurableAlternatives

from dsplus_chains.running.arm import leading_step

_PARTS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (RunnableBindingBase, ("bound",)),
    (RunnableEachBase, ("bound",)),
    (RunnableWithFallbacks, ("runnable", "fallbacks")),
    (RunnableConfigurableAlternatives, ("default", "alternatives")),
    (DynamicRunnable, ("default",)),
    (RunnableParallel, ("steps__",)),
    (RunnableAssign, ("mapper",)),
)
"""Where LangChain's Runnables keep the Runnables that they are made of, except where some come before others."""


def wrapped_by(app: Runnable[Any, Any]) -> Runnable[Any, Any] | None:
    """What a binding, fallbacks or a configurable Runnable are wrapped around. None if nothing is wrapped.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> step = RunnableLambda(str)
        >>> wrapped_by(step.with_retry()) is step, wrapped_by(step)
        (True, None)
    """
    inner: Runnable[Any, Any] | None = None
    if isinstance(app, RunnableBindingBase):
        inner = app.bound
    elif isinstance(app, RunnableWithFallbacks):
        inner = app.runnable
    elif isinstance(app, DynamicRunnable):
        inner = app.default
    return inner


def takes_turns(app: Runnable[Any, Any]) -> bool:
    """Whether an app begins by taking its input for a conversation, so that a list of texts is one of human turns.

    A chat model does, and so does a prompt whose only variable is a placeholder of messages.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> prompt = ChatPromptTemplate([("system", "Be brief."), MessagesPlaceholder("messages")])
        >>> takes_turns(prompt | RunnableLambda(str)), takes_turns(RunnableLambda(len))
        (True, False)
    """
    first = leading_step(app, RunnablePassthrough)
    if not isinstance(first, ChatPromptTemplate):
        return isinstance(first, BaseChatModel)
    held = [part.variable_name for part in first.messages if isinstance(part, MessagesPlaceholder)]
    return len(first.input_variables) == 1 and first.input_variables[0] in held


def bare(step: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A step without its bindings and its configurable fields. Fallbacks stay, since they are other steps."""
    while isinstance(step, (RunnableBindingBase, DynamicRunnable)):
        step = step.bound if isinstance(step, RunnableBindingBase) else step.default
    return step


def replaced(
    app: Runnable[Any, Any],
    wanted: Callable[[Any], bool],
    into: Callable[..., Runnable[Any, Any]],
    *,
    only_last: bool = False,
) -> Runnable[Any, Any]:
    """The app with each wanted step turned into another. It is the very app if there is none.

    A wanted step is replaced with all that is bound to it. Of alternatives, each is replaced by itself. One that is
    made on demand is made once here, to see what is in it.

    Args:
        app: The app.
        wanted: Whether a step is to be replaced.
        into: The function from a step, as `step`, to the one in its place.
        only_last: Whether only the last wanted step of a sequence is replaced. Steps that stand side by side, such as
            fallbacks, are all the last.
    """
    if not isinstance(app, RunnableConfigurableAlternatives) and wanted(app):
        return into(step=app)
    change = partial(replaced, wanted=wanted, into=into, only_last=only_last)
    if isinstance(app, RunnableBranch):
        return _replaced_branch(app, change, only_last=only_last)
    if isinstance(app, RunnableSequence):
        return _replaced_sequence(app, change, only_last=only_last)
    held_by: Any = app
    names = next((names for kind, names in _PARTS if isinstance(app, kind)), ())
    held = {name: getattr(held_by, name) for name in names}
    parts = {name: _changed(value, change) for name, value in held.items()}
    if all(parts[name] is held[name] for name in names):
        return app
    changed: Runnable[Any, Any] = held_by.model_copy(update=parts)
    return changed


def _replaced_sequence(
    app: RunnableSequence[Any, Any], change: Callable[[Any], Any], *, only_last: bool
) -> Runnable[Any, Any]:
    steps = list(app.steps)
    found = False
    for number, step in reversed([*enumerate(steps)]):
        steps[number] = change(step)
        found = found or steps[number] is not step
        if found and only_last:
            break
    return RunnableSequence(*steps, name=app.name) if found else app


def _replaced_branch(
    app: RunnableBranch[Any, Any], change: Callable[[Any], Any], *, only_last: bool
) -> Runnable[Any, Any]:
    """The branch with its steps changed. A condition is never the last step."""
    tests, runs = zip(*app.branches, strict=True)
    held = (tests, runs, app.default)
    new = (tests if only_last else _changed(tests, change), _changed(runs, change), change(app.default))
    if all(one is other for one, other in zip(new, held, strict=True)):
        return app
    return app.model_copy(update={"branches": [*zip(new[0], new[1], strict=True)], "default": new[2]})


def _changed(held: Any, change: Callable[[Any], Any]) -> Any:
    """What an app holds, with each Runnable in it changed. It is the very object if nothing is changed."""
    if isinstance(held, Runnable):
        return change(held)
    if isinstance(held, Mapping):
        named = {name: _changed(part, change) for name, part in held.items()}
        return held if all(named[name] is part for name, part in held.items()) else named
    if isinstance(held, (list, tuple)):
        listed = [_changed(part, change) for part in held]
        return held if all(new is old for new, old in zip(listed, held, strict=True)) else type(held)(listed)
    made = held()  # an alternative that is made when it is wanted
    new = change(made)
    return held if new is made else new
