"""Cells of a log: JSON in a text, messages as several tools write them, and outputs of models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage

from dsplus_chains.running.endings import is_whole
from dsplus_chains.schema import is_missing, is_number

_ROLES = {"human": "user", "HumanMessage": "user", "ai": "assistant", "AIMessage": "assistant"}
_ROLES |= {"SystemMessage": "system", "ToolMessage": "tool"}
_NAMES = {*_ROLES.values(), *_ROLES, "developer"}
_OUTPUT_KEYS = ("answer", "output", "label", "content", "text", "message", "output_text")
"""Where an output of several fields has its answer."""
_SHAPED = ("choices", "generations", "output")
"""Fields of a model's whole reply. Only there, "status" is how it ended, and not an app's own word."""
_OWN = {"status", "truncated", "is_blocked"}
"""Fields that an app may have as well."""
_NUMBER, _DAY = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?"), re.compile(r"[0-9]{8}")
_LATEST, _EARLIEST = 1e10, 1e8
"""Seconds until the year 2286 and until 1973. A number of smaller units is a time between them."""
_JSON = re.compile(r'\s*([\[{"]|null\s*$)')


def decoded(cell: Any) -> Any:
    """A cell whose text is JSON as what it means. Any other cell as it is.

    Example:
        >>> decoded('{"question": "Where?"}'), decoded("[sic] where?")
        ({'question': 'Where?'}, '[sic] where?')
    """
    if isinstance(cell, str) and _JSON.match(cell):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def with_messages(value: Any) -> Any:
    """An input whose messages are written as ``{"role": ..., "content": ...}``.

    It knows serialised messages of LangChain, in both of its forms, and a batch of one conversation.

    Example:
        >>> kwargs = {"content": "Where?", "type": "human"}
        >>> one = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"]}
        >>> with_messages({"messages": [[{**one, "kwargs": kwargs}]]})
        {'messages': [{'role': 'user', 'content': 'Where?'}]}
    """
    if isinstance(value, Mapping):
        message = _message(value)
        return {key: with_messages(part) for key, part in value.items()} if message is None else message
    if isinstance(value, list):
        inner = value[0] if len(value) == 1 and isinstance(value[0], list) and not _is_pair(value[0]) else value
        return [_paired(part) if _is_pair(part) else with_messages(part) for part in inner]
    return value


def _is_pair(value: Any) -> bool:
    """Whether a value is a message as a pair of its role and its text."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in _NAMES


def _paired(pair: list[Any]) -> dict[str, Any]:
    return {"role": _ROLES.get(pair[0], pair[0]), "content": pair[1]}


def _message(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message, or None if it is none."""
    if (held := _held(value)) is None:
        return None
    fields, name = held
    return {"role": _ROLES.get(name.removesuffix("Chunk"), name), "content": fields.get("content")}


def _held(value: Mapping[str, Any]) -> tuple[Mapping[str, Any], str] | None:
    """The fields of a message and its role, or None if it is none."""
    if value.get("lc") and isinstance(value.get("kwargs"), Mapping):
        held = value["kwargs"]
        return held, str(held.get("type") or (value.get("id") or [""])[-1])
    if isinstance(value.get("data"), Mapping) and "content" in value["data"]:
        return value["data"], str(value.get("type"))
    if "content" in value and isinstance(value.get("role"), str):
        return value, value["role"]
    return None


def input_of(value: Any) -> Any:
    """An input as an app was called with it.

    Example:
        >>> input_of({"role": "user", "content": "Where?"})
        [{'role': 'user', 'content': 'Where?'}]
    """
    found = with_messages(value)
    return [found] if isinstance(found, dict) and "role" in found and "content" in found else found


def output_of(value: Any) -> Any:
    """The answer in a logged output: the text of a message, the only field of an object, or what is there.

    If a message calls a tool, as in structured output, it is what the tool gets. Of an agent's messages it is the last.
    What a model has refused to say, or not said to its end, is no answer.

    Example:
        >>> said = {"role": "assistant", "content": "negative"}
        >>> output_of(said), output_of({"choices": [{"message": said}]}), output_of({"generations": [[{"text": "ok"}]]})
        ('negative', 'negative', 'ok')
        >>> output_of({"kind": "bug", "urgent": True})
        {'kind': 'bug', 'urgent': True}
    """
    while isinstance(value, (Mapping, list)):
        inner = _in_list(value) if isinstance(value, list) else _in_object(value)
        if inner is value:
            return value
        value = inner
    return None if is_missing(value) else value


def _in_list(value: list[Any]) -> Any:
    """What a list holds: its only item, or the text of the blocks of one message."""
    if len(value) == 1:
        return value[0]
    is_message = value and all(isinstance(part, Mapping) and "text" in part for part in value)
    return "".join(str(part["text"]) for part in value) if is_message else value


def _in_object(value: Mapping[str, Any]) -> Any:
    """What an object holds. It is the content of a message, a model's output, or the field with the answer."""
    if not _is_whole(value):
        return None
    if (held := _held(value)) is not None:
        more = held[0].get("additional_kwargs")
        calls = held[0].get("tool_calls") or (more.get("tool_calls") if isinstance(more, Mapping) else None)
        return _arguments(calls) or held[0].get("content")
    if told := value.get("generations") or value.get("choices"):
        return told
    if isinstance(value.get("output"), list) and any(isinstance(part, Mapping) for part in value["output"]):
        # of OpenAI's Responses: thoughts, calls and messages
        parts = [part for part in value["output"] if isinstance(part, Mapping)]
        return _arguments(parts) or [part for part in parts if part.get("content")]
    inner = value.get("message") if "text" in value else None  # of a generation, whose text tells of no calls
    is_generation = isinstance(inner, Mapping) and _held(inner) is not None
    names = (*(["message"] if is_generation else _OUTPUT_KEYS), "messages", *(value if len(value) == 1 else ()))
    key = next((name for name in names if name in value), None)
    if key is None:
        return value
    found = with_messages(value[key]) if key == "messages" else value[key]
    return found[-1] if key == "messages" and isinstance(found, list) and found else found


def _arguments(calls: Any) -> list[Any]:
    """What tools are called with, each once, as OpenAI or LangChain writes calls. Empty without any."""
    found: list[Any] = []
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, Mapping):
            inner = call["function"] if isinstance(call.get("function"), Mapping) else call
            given = inner.get("args") or decoded(inner.get("arguments"))
            found += [given] if given and given not in found else []
    return found


def _is_whole(value: Mapping[str, Any]) -> bool:
    """Whether a model's output is neither refused nor cut off, as far as it tells."""
    held = _held(value)
    fields = value if held is None else held[0]
    parts: list[Any] = next((fields[name] for name in _SHAPED if isinstance(fields.get(name), list)), [])
    is_reply = any(isinstance(part, (Mapping, list)) for part in parts)
    told = {name: how for name, how in fields.items() if is_reply or name not in _OWN}
    for name in ("generation_info", "response_metadata", "additional_kwargs"):
        told |= fields[name] if isinstance(fields.get(name), Mapping) else {}
    refusal = {"refusal": told.get("refusal")} if held is not None else {}
    content = fields.get("content", [value] if value.get("type") == "refusal" else "")
    blocks: list[Any] = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return is_whole(AIMessage(blocks, response_metadata=told, additional_kwargs=refusal))


def point_of_time(cell: Any) -> float | None:
    """A point of time in seconds since 1970. None if the cell tells none.

    A number counts seconds, or the milli-, micro- or nanoseconds that tools write, since these are 1,000 times as many.
    In a text it is the same, but eight digits are a date.

    Example:
        >>> point_of_time("1970-01-01T00:01:00Z"), point_of_time(60), point_of_time("soon")
        (60.0, 60.0, None)
        >>> point_of_time("1704067200"), point_of_time(1704067200000), point_of_time("20240101")
        (1704067200.0, 1704067200.0, 1704067200.0)
    """
    if is_number(cell):
        return _seconds(cell)
    text = str(cell).strip()
    if _NUMBER.fullmatch(text) and not _DAY.fullmatch(text):
        return _seconds(float(text))
    try:
        found = cell if isinstance(cell, datetime) else datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _seconds(number: float) -> float | None:
    """Seconds of a number that counts them, or parts of them. None if it is no time of these centuries."""
    if abs(number) < _LATEST:
        return float(number)
    if not number < _LATEST * 1e9:  # Python divides no integer of more than 308 digits
        return None
    return next((float(number / unit) for unit in (1e3, 1e6, 1e9) if _EARLIEST <= number / unit < _LATEST), None)
