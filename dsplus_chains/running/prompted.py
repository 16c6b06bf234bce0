"""`PromptedModel`, a model that gets a whole prompt from us, and so is no app with a prompt of its own."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BeforeValidator

from dsplus_chains.running.arm import leading_step
from dsplus_chains.schema import WiringError


def as_prompted(value: Any) -> Runnable[Any, Any]:
    """A Runnable from a prompt to an answer.

    A prompt template would put the `repr` of our messages into its own text. So it is refused as the first step, and so
    is a dict that hands it what comes in.

    Args:
        value: A chat model, also wrapped, or any other Runnable or function.

    Raises:
        WiringError: It begins with a prompt of its own.

    Example:
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> as_prompted(ChatPromptTemplate.from_template("Is {text} good?") | len)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dsplus_chains.schema.errors.WiringError: Got an app that begins with a prompt of its own (over 'text') but ...
    """
    model: Runnable[Any, Any] = coerce_to_runnable(value)
    first, beyond = leading_step(model, RunnablePassthrough), leading_step(model, RunnablePassthrough, RunnableParallel)
    passed_on = isinstance(first, RunnableParallel) and any(
        type(step) is RunnablePassthrough for step in first.steps__.values()
    )
    if isinstance(beyond, BasePromptTemplate) and (first is beyond or passed_on):
        names = ", ".join(map(repr, beyond.input_variables))
        msg = (
            f"Got an app that begins with a prompt of its own (over {names}) but expected what answers our prompt; "
            "give the chat model alone, or keep the app as it is with shunt(app, scorer)"
        )
        raise WiringError(msg)
    return model


PromptedModel: TypeAlias = Annotated[Runnable[Any, Any], BeforeValidator(as_prompted)]
"""A Runnable that gets a whole prompt from us."""
