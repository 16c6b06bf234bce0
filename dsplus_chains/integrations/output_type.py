"""What an app answers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_origin

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
from typing_extensions import get_type_hints, is_typeddict

from dsplus_chains.integrations.app_steps import wrapped_by
from dsplus_chains.integrations.output_field import options_of, plain_type


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


def said_type(app: Runnable[Any, Any]) -> Any:
    """The type that an app, or its last step, says it answers with, whether or not a label can become one.

    A chat model says the same whatever it is bound to, so it says nothing.
    """
    last = _last_step(app)
    return Any if isinstance(last, BaseChatModel) else next(_said_types(app, last), Any)


def _told_type(app: Runnable[Any, Any], last: Runnable[Any, Any]) -> Any:
    """The type that an app, or its last step, says it answers with. `Any` if it is none that can be made of a label."""
    for told in _said_types(app, last):
        is_kind = isinstance(told, type) or is_typeddict(told) or get_origin(told) in {Literal, dict, list}
        if is_kind or options_of(told) is not None:
            return told
    return Any


def _said_types(app: Runnable[Any, Any], last: Runnable[Any, Any]) -> Iterator[Any]:
    for run in (app, last):
        try:
            told: Any = run.OutputType
            if isinstance(told, str):  # a function's types are strings after `from __future__ import annotations`
                function: Any = last
                told = get_type_hints(getattr(function, "func", None) or function.afunc).get("return", Any)
        except (TypeError, NameError):  # one that cannot tell, or names a type that is not there
            continue
        if not (told is Any or isinstance(told, TypeVar)):
            yield plain_type(told)


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
