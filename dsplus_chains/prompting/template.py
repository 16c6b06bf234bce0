"""Prompt templates of the user, in the forms that are accepted and as plain data."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from langchain_core.messages import BaseMessage
from langchain_core.prompts import (
    AIMessagePromptTemplate,
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    PromptTemplate,
    SystemMessagePromptTemplate,
)
from pydantic import BeforeValidator

from dsplus_chains.schema import InvalidInputError, WiringError, what_came

_ROLES: dict[type, str] = {
    SystemMessagePromptTemplate: "system",
    HumanMessagePromptTemplate: "human",
    AIMessagePromptTemplate: "ai",
}


def as_template(value: Any) -> ChatPromptTemplate | None:
    """A template from any accepted form.

    Args:
        value: A `ChatPromptTemplate`, its messages, the text of a human message, or None.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, str):
        return ChatPromptTemplate.from_messages([("human", value)])
    if isinstance(value, list):
        return ChatPromptTemplate.from_messages([tuple(part) if isinstance(part, list) else part for part in value])
    if value is None or isinstance(value, ChatPromptTemplate):
        return value
    msg = f"Got template={what_came(value)} but expected a ChatPromptTemplate, its messages, or one text"
    raise ValueError(msg)


Template: TypeAlias = Annotated[ChatPromptTemplate | None, BeforeValidator(as_template)]
"""A prompt of the user's own, or None."""


def filled(template: ChatPromptTemplate, values: dict[str, Any]) -> list[BaseMessage]:
    """The messages of a template.

    Args:
        template: The template.
        values: The value of each variable.

    Raises:
        WiringError: The template has another variable.

    Example:
        >>> [message.content for message in filled(as_template("Is {thing} good?"), {"thing": "it"})]
        ['Is it good?']
    """
    if missing := [name for name in template.input_variables if name not in values]:
        msg = (
            f"The template wants {sorted(missing)}, which the record does not hold; it has {sorted(values)}. "
            "Braces that are meant as such are written twice: {{ and }}"
        )
        raise WiringError(msg)
    return template.invoke(values).to_messages()


OURS = frozenset({"instruction", "labels", "hints", "exemplars"})
"""The variables of a template that say nothing of the input."""


def shows_input(template: ChatPromptTemplate) -> bool:
    """Whether a template has a variable that may hold the input, or another key of the record.

    Example:
        >>> shows_input(as_template("Good or bad? {labels}")), shows_input(as_template("{review}: good or bad?"))
        (False, True)
    """
    return not OURS.issuperset((*template.input_variables, *template.optional_variables))


def template_as_data(template: ChatPromptTemplate) -> list[list[str]]:
    """A template as pairs of role and text, which `as_template` reads back.

    Args:
        template: Template of texts with plain variables.

    Raises:
        InvalidInputError: It holds something else, such as values of its own (`partial`).

    Example:
        >>> template_as_data(as_template("Is it praise? {fenced_input}"))
        [['human', 'Is it praise? {fenced_input}']]
    """
    parts = [template, *(getattr(message, "prompt", None) for message in template.messages)]
    if partial := sorted({name for part in parts for name in getattr(part, "partial_variables", None) or ()}):
        msg = (
            f"Got a template with values of its own for {partial}, which cannot be kept as data; write them into its "
            "text, or give the template anew where the task is read"
        )
        raise InvalidInputError(msg)
    pairs = []
    for message in template.messages:
        kind: type = type(message)
        role, prompt = _ROLES.get(kind), getattr(message, "prompt", None)
        if role is None or not isinstance(prompt, PromptTemplate) or prompt.template_format != "f-string":
            msg = (
                f"Got {what_came(message)} in a template but expected texts of the roles system, human and ai, which "
                "can be kept as data; give the template anew where the task is read"
            )
            raise InvalidInputError(msg)
        pairs.append([role, prompt.template])
    return pairs
