"""What a small model says, as a chat model's message."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutine
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration

from dsplus_chains.schema import InvalidInputError, what_came

SMALL_MODEL = "dsplus_chains"
"""The model name in the metadata of a small model's message."""


def small_message(said: Any) -> AIMessage:
    """What a small model says, as a chat model's message. It cost no token."""
    return AIMessage(
        str(said),
        response_metadata={"model_name": SMALL_MODEL, "finish_reason": "stop"},
        usage_metadata={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    )


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """A whole message as the only chunk of a stream."""
    content: Any = message.content
    if not isinstance(content, str):
        content = [{**part, "index": n} if isinstance(part, dict) else part for n, part in enumerate(content)]
    return AIMessageChunk(**{**message.model_dump(exclude={"type"}), "content": content, "chunk_position": "last"})


def text_of(message: AIMessage) -> str:
    """The text of a message, of the very type that LangChain's parser of texts gives."""
    text: str = StrOutputParser().parse_result([ChatGeneration(message=message)])
    return text


def as_message(said: Any) -> AIMessage:
    """A reply as a message, in any form that chat models take. It cost no token.

    Raises:
        InvalidInputError: It is a message, but none of an AI. Or it comes of an async function.
    """
    said = settled(said)
    is_pair = isinstance(said, tuple) and len(said) == 2 and all(isinstance(part, str) for part in said)
    if is_pair or isinstance(said, BaseMessage) or (isinstance(said, Mapping) and {"role", "content"} <= said.keys()):
        try:
            (found,) = convert_to_messages([said])
        except (ValueError, NotImplementedError):  # as LangChain says that it is no message
            found = None
        if not isinstance(found, AIMessage):
            msg = f"Got {what_came(said)} as a reply but expected a text, or a message of the assistant"
            raise InvalidInputError(msg)
        said = found
    if not isinstance(said, AIMessage):
        return small_message(said)
    usage = said.usage_metadata or small_message("").usage_metadata
    return said.model_copy(update={"id": None, "usage_metadata": usage})


def settled(output: Any) -> Any:
    """An output that is there.

    Raises:
        InvalidInputError: It comes of an async function, and nobody waits for it.
    """
    if iscoroutine(output):
        output.close()
        msg = "Got an async function that makes the output of a label, but expected a plain one"
        raise InvalidInputError(msg)
    return output
