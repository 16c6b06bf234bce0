"""What an app answers with, and which fields of it can hold a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, Union, get_args, get_origin

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import BaseOutputParser, StrOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableGenerator,
    RunnableSequence,
)
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import BaseModel
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from dsplus_chains.integrations.app_steps import wrapped_by


class OutputField(NamedTuple):
    """One field of an app's output."""

    options: tuple[Any, ...] | None
    """The values that it may have. None: any."""
    needed: bool
    """Whether the output must have it."""
    kind: Any = Any
    """The type of its values. `Any` if it does not say, or if the class of the output sees to it."""


def output_type(app: Runnable[Any, Any]) -> Any:
    """The type of an app's output. It is a class, or a JSON schema, or `Any` if nothing tells.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.output_parsers import BaseOutputParser, StrOutputParser
        >>> model = FakeListChatModel(responses=["hi"])
        >>> output_type(model | StrOutputParser()), output_type(model)
        (<class 'str'>, <class 'langchain_core.messages.ai.AIMessage'>)
    """
    last = _last_step(app)
    if isinstance(last, BaseChatModel):
        return Any if _must_call_a_tool(app) else AIMessage
    if isinstance(last, BaseLLM):
        return str
    if isinstance(last, PydanticToolsParser):
        return last.tools[0] if last.first_tool_only and len(last.tools) == 1 else Any
    told = _told_type(app, last)
    if isinstance(told, type) and issubclass(told, BaseMessage):
        return AIMessage
    if told is Any:
        schema = _bound_schema(app, last)
        return Any if schema is None else schema
    return Any if told is object or dict in {told, get_origin(told)} or list in {told, get_origin(told)} else told


def ends_in_chat_model(app: Runnable[Any, Any]) -> bool:
    """Whether an app's last step is a chat model."""
    return isinstance(_last_step(app), BaseChatModel)


def ends_in_text_parser(app: Runnable[Any, Any]) -> bool:
    """Whether an app's last step is LangChain's parser of texts."""
    return type(_last_step(app)) is StrOutputParser


def _told_type(app: Runnable[Any, Any], last: Runnable[Any, Any]) -> Any:
    """The type that an app, or its last step, says it answers with. `Any` if it is none that can be made of a label."""
    for run in (app, last):
        try:
            told: Any = run.OutputType
            if isinstance(told, str):  # a function's types are strings after `from __future__ import annotations`
                function: Any = last
                told = get_type_hints(getattr(function, "func", None) or function.afunc).get("return", Any)
        except (TypeError, NameError):  # one that cannot tell, or names a type that is not there
            continue
        if told is not Any and (
            isinstance(told, type) or is_typeddict(told) or get_origin(told) in {Literal, dict, list}
        ):
            return told
    return Any


def output_fields(schema: Any) -> dict[str, OutputField] | None:
    """The fields of a pydantic class, a dataclass, a TypedDict or a JSON schema. None if it is none of them.

    Example:
        >>> @dataclasses.dataclass
        ... class Ticket:
        ...     kind: Literal["bug", "wish"]
        ...     note: str = ""
        >>> output_fields(Ticket)["kind"]
        OutputField(options=('bug', 'wish'), needed=True, kind=typing.Literal['bug', 'wish'])
    """
    for is_one, fields_of in _KINDS:
        if is_one(schema):
            return fields_of(schema)
    return None


def _of_json(schema: Mapping[str, Any]) -> dict[str, OutputField] | None:
    inner = _inside(schema)
    properties = inner.get("properties")
    if not isinstance(properties, Mapping) or not all(
        isinstance(part, (Mapping, bool)) for part in properties.values()
    ):
        return None
    needed, defined = set(inner.get("required", ())), inner.get("$defs", {})
    return {
        name: OutputField(_json_options(part, defined), name in needed, _json_kind(part, defined))
        for name, part in properties.items()
    }


def _of_model(schema: type[BaseModel]) -> dict[str, OutputField]:
    parts = schema.model_fields.items()
    return {name: OutputField(options_of(part.annotation), part.is_required()) for name, part in parts}


def _of_dataclass(schema: Any) -> dict[str, OutputField]:
    hints, missing = get_type_hints(schema), dataclasses.MISSING
    is_checked = hasattr(schema, "__pydantic_validator__")
    return {
        part.name: OutputField(
            options_of(hints[part.name]),
            part.default is missing and part.default_factory is missing,
            Any if is_checked else hints[part.name],
        )
        for part in dataclasses.fields(schema)
    }


def _of_typed_dict(schema: Any) -> dict[str, OutputField]:
    hints, told = get_type_hints(schema), get_type_hints(schema, include_extras=True)
    return {
        name: OutputField(options_of(hint), _is_needed(schema, name, told[name]), hint) for name, hint in hints.items()
    }


def _is_needed(schema: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict must have a field. Its own list is wrong after `from __future__ import annotations`."""
    origin = get_origin(hint)
    if origin in {ReadOnly, Annotated}:
        return _is_needed(schema, name, get_args(hint)[0])
    return origin is Required or (origin is not NotRequired and name in schema.__required_keys__)


_OF_JSON = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": NoneType,
    "number": int | float,
    "object": dict,
    "string": str,
}
"""What values of JSON are in Python, by the names of their types."""

_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], dict[str, OutputField] | None]], ...] = (
    (lambda schema: isinstance(schema, Mapping), _of_json),
    (lambda schema: isinstance(schema, type) and issubclass(schema, BaseModel), _of_model),
    (lambda schema: isinstance(schema, type) and dataclasses.is_dataclass(schema), _of_dataclass),
    (is_typeddict, _of_typed_dict),
)


def _inside(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema in the forms in which providers take one."""
    for key in ("function", "parameters", "schema", "input_schema"):
        inner = schema.get(key)
        schema = inner if isinstance(inner, Mapping) else schema
    return schema


def options_of(hint: Any) -> tuple[Any, ...] | None:
    """The values that a type allows, if it says them."""
    if hint is bool:
        return (True, False)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(hint)
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in {Union, UnionType}:
        parts = [options_of(part) for part in get_args(hint) if part is not NoneType]
        known = [part for part in parts if part is not None]
        return tuple(value for part in known for value in part) if known and len(known) == len(parts) else None
    inner = getattr(hint, "__origin__", None)  # Annotated[...]
    return options_of(inner) if inner is not None and hasattr(hint, "__metadata__") else None


def _json_options(part: Mapping[str, Any] | bool, defined: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The values that a part of a JSON schema allows, if it says them."""
    if isinstance(part, bool):  # true allows anything
        return None
    if "$ref" in part:
        return _json_options(defined.get(str(part["$ref"]).rsplit("/", 1)[-1], {}), defined)
    if "enum" in part:
        return tuple(part["enum"])
    if "const" in part:
        return (part["const"],)
    return (True, False) if part.get("type") == "boolean" else None


def _json_kind(part: Mapping[str, Any] | bool, defined: Mapping[str, Any]) -> Any:
    """The type of the values that a part of a JSON schema allows. `Any` if it does not say."""
    if isinstance(part, bool):
        return Any
    if "$ref" in part:
        return _json_kind(defined.get(str(part["$ref"]).rsplit("/", 1)[-1], {}), defined)
    told = part.get("type", [])
    kinds: list[Any] = [_OF_JSON.get(name, Any) for name in (told if isinstance(told, list) else [told])]
    kinds += [_json_kind(other, defined) for key in ("anyOf", "oneOf") for other in part.get(key, ())]
    return Any if not kinds or Any in kinds else reduce(or_, kinds)


def _last_step(app: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The last step of an app, whatever is wrapped around it."""
    while True:
        inner = wrapped_by(app)
        if inner is not None:
            app = inner
        elif isinstance(app, RunnableSequence):
            app = app.last
        elif isinstance(app, RunnableBranch):
            app = app.default
        else:
            return app


def _bound_schema(app: Runnable[Any, Any], last: Runnable[Any, Any]) -> Any:
    """The schema that a chat model in an app was bound to, or that of the one tool that a parser reads, if any."""
    bound = _bound_arguments(app)
    if told := bound.get("ls_structured_output_format"):  # with_structured_output
        return told.get("schema")
    if isinstance(last, JsonOutputKeyToolsParser) and last.first_tool_only and not last.return_id:
        tools = [tool for tool in bound.get("tools", ()) if isinstance(tool, Mapping)]
        return next((tool for tool in tools if tool.get("function", tool).get("name") == last.key_name), None)
    return None


def _bound_arguments(app: Runnable[Any, Any]) -> Mapping[str, Any]:
    """What the chat model, whose output an app answers with or only reads, was bound to."""
    bound = dict[str, Any]()
    while (inner := wrapped_by(app)) is not None:
        bound = {**(app.kwargs if isinstance(app, RunnableBindingBase) else {}), **bound}
        app = inner
    for step in reversed(app.steps if isinstance(app, RunnableSequence) else []):
        if not _only_reads(step):  # a later step of the user's makes something else of the object
            return {**_bound_arguments(step), **bound}
    return bound


def _must_call_a_tool(app: Runnable[Any, Any]) -> bool:
    """Whether a chat model is bound to answer with the call of a tool, as OpenAI, Anthropic and Bedrock are told it."""
    kind = _bound_arguments(app).get("tool_choice")
    if isinstance(kind, Mapping):
        told = kind.get("allowed_tools", kind)  # OpenAI's list of tools, which has a mode
        kind = told.get("mode", told.get("type", next(iter(told), None)))  # Bedrock's kind is the only key
    return kind not in {None, False, "auto", "none"}


def _only_reads(step: Runnable[Any, Any]) -> bool:
    """Whether a step is LangChain's own reading of a model's structured output."""
    if isinstance(step, RunnableGenerator):
        return str(getattr(getattr(step, "_transform", None), "__module__", "")).startswith("langchain")
    return isinstance(step, BaseOutputParser)
