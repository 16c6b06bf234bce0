"""Reads a chat model's messages, whatever the model was asked.

Thoughts are no answer, and JSON may name each key only once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

_WITH_RAW = {"raw", "parsed", "parsing_error"}
_THOUGHTS = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE | re.ASCII)
_THOUGHT = re.compile(r"<think(?:ing)?>", re.IGNORECASE | re.ASCII)


def answer_in(message: BaseMessage) -> Any:
    """The answer in a message. It is the arguments of a tool call, as in structured output, or else the text.

    Beside a tool call, the text only leads to it. If several calls differ, all of them are the answer.

    Example:
        >>> call = {"name": "Answer", "args": {"label": "negative"}, "id": "1"}
        >>> answer_in(AIMessage("It looks positive, but:", tool_calls=[call])), answer_in(AIMessage("positive"))
        ({'label': 'negative'}, 'positive')
    """
    given: list[Any] = []
    for call in message.tool_calls if isinstance(message, AIMessage) else []:
        if call["args"] and call["args"] not in given:
            given.append(call["args"])
    return given[0] if len(given) == 1 else given or str(message.text)


def said_and_parsed(answer: Any) -> tuple[Any, Any]:
    """What a model has said, and what was made of it.

    They are two where the model has structured output with ``include_raw=True``. Any other answer is both. So is the
    message of an answer that could not be parsed.

    Example:
        >>> said_and_parsed({"raw": AIMessage("{}"), "parsed": {"label": "a"}, "parsing_error": None})[1]
        {'label': 'a'}
        >>> said_and_parsed("negative")
        ('negative', 'negative')
    """
    if not isinstance(answer, Mapping) or answer.keys() != _WITH_RAW or not isinstance(answer["raw"], BaseMessage):
        return answer, answer
    is_parsed = answer["parsing_error"] is None and answer["parsed"] is not None
    return answer["raw"], answer["parsed" if is_parsed else "raw"]


def without_thoughts(text: str) -> str:
    """The text behind a model's thoughts. It is empty if the model was cut off while thinking.

    Example:
        >>> without_thoughts("<think>positive?</think>negative"), without_thoughts("<think>positive? Or")
        ('negative', '')
    """
    done = _THOUGHTS.match(text)
    start = done.end() if done else 0
    more = _THOUGHT.search(text, start)
    return text[start : more.start() if more else None]


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it names a key twice. Use it as `object_pairs_hook`.

    Raises:
        ValueError: A key stands twice.

    Example:
        >>> import json
        >>> json.loads('{"label": "good", "label": "bad"}', object_pairs_hook=unique_keys)
        Traceback (most recent call last):
        ...
        ValueError: a key stands twice in an object
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key stands twice in an object"
        raise ValueError(msg)
    return found
