"""A part of what an app answers with: some fields of its class or schema, and the whole made of two parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from copy import copy
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import AliasChoices, BaseModel, PrivateAttr, create_model, model_validator
from pydantic.fields import FieldInfo

from dsplus_chains.integrations.output_field import output_fields
from dsplus_chains.schema import what_came


class PartialAnswer(BaseModel):
    """A part of a pydantic class. It keeps what was said before it was validated, since the whole is validated too."""

    _said: Any = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_was_said(cls, data: Any, handler: Any) -> Any:
        made = handler(data)
        made._said = data
        return made


def part_of(schema: Any, names: Collection[str]) -> Any:
    """The class or schema with some of the fields. It keeps the name and the description.

    Args:
        schema: A pydantic class, a TypedDict or a JSON schema. A part of a TypedDict is a JSON schema.
        names: The fields that the part has.

    Example:
        >>> class Ticket(BaseModel):
        ...     category: str
        ...     reply: str
        >>> part_of(Ticket, ["reply"]).model_json_schema()["required"]
        ['reply']
    """
    if _is_model(schema):
        held = {name: schema.model_fields[name] for name in schema.model_fields if name in names}
        base = type("PartialAnswer", (PartialAnswer,), {"model_config": schema.model_config, "__module__": __name__})
        parts: dict[str, Any] = {name: (info.annotation, copy(info)) for name, info in held.items()}
        told = {"__doc__": schema.__doc__, "__module__": schema.__module__}
        return create_model(schema.__name__, __base__=base, **told, **parts)
    told = convert_to_openai_tool(schema)["function"]
    inner = told["parameters"]
    properties = {name: held for name, held in inner["properties"].items() if name in names}
    needed = [name for name in inner.get("required", ()) if name in names]
    named = {"title": told["name"], "description": told.get("description", "")}
    return {**named, **inner, "properties": properties, "required": needed}


def whole_of(schema: Any, known: Mapping[str, Any], said: Any = None) -> Any:
    """The app's answer, of the known fields and of what the large model has said of the others.

    A pydantic object is validated as a whole. Without a class there is nothing to validate, as in the app itself.

    Args:
        schema: What the app answers with.
        known: The known fields, as JSON holds them. They win over what was said.
        said: The answer of an app that was asked for the other fields. None if nobody was asked.

    Raises:
        OutputParserException: The answer has no fields.
        pydantic.ValidationError: The whole is not valid.

    Example:
        >>> class Ticket(BaseModel):
        ...     category: str
        ...     reply: str
        >>> whole_of(Ticket, {"category": "billing"}, part_of(Ticket, ["reply"])(reply="We look at it."))
        Ticket(category='billing', reply='We look at it.')
    """
    told = {} if said is None else _as_json(said)
    if _is_model(schema):
        named = {key_of(name, schema.model_fields[name]): value for name, value in known.items()}
        return schema.model_validate_json(json.dumps({**told, **named}))
    merged = {**told, **known}
    order = [name for name in output_fields(schema) or () if name in merged]
    return {name: merged[name] for name in [*order, *merged]}


def fields_in(answer: Any, names: Collection[str]) -> dict[str, Any]:
    """The values of some fields of an answer, as JSON holds them. A field that is not there is None.

    Example:
        >>> fields_in({"category": "billing"}, ["category", "urgent"])
        {'category': 'billing', 'urgent': None}
    """
    held = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    return {name: held.get(name) if isinstance(held, Mapping) else None for name in names}


def _as_json(said: Any) -> Mapping[str, Any]:
    """What was said, under the names that JSON has."""
    raw = getattr(said, "_said", None)
    if isinstance(raw, Mapping):
        return raw
    if isinstance(said, BaseModel):
        dumped: dict[str, Any] = said.model_dump(mode="json", by_alias=True)
        return dumped
    if isinstance(said, Mapping):
        return said
    msg = f"Got {what_came(said)} from the large model but expected the fields that it was asked for"
    raise OutputParserException(msg)


def key_of(name: str, info: FieldInfo) -> str:
    """The name of a field in JSON."""
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else name


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)
