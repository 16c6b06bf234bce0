"""How many tokens a chat model's call may cost, before it is made, and how many it has cost, after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict")
"""How providers call the largest number of tokens in an answer."""

_BYTES = 3.0
"""Bytes of UTF-8 to a token, rather too few than too many. English has about four, Chinese about three."""


def estimated_tokens(messages: Sequence[BaseMessage], params: Mapping[str, Any] | None = None) -> int:
    """How many tokens messages have, rather too many than too few. LangChain's own count, by bytes.

    Args:
        messages: The prompt, or an answer.
        params: What the model is called with. Its tools and its schema are a part of the prompt.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> estimated_tokens([HumanMessage("Is this review positive or negative?")])
        17
    """
    params = params or {}
    text = "".join(str(message.text) for message in messages)
    size = len(text.encode("utf-8", "replace"))
    tools: list[Any] = [*(params.get("tools") or ()), params.get("response_format")]
    return count_tokens_approximately(
        list(messages),
        chars_per_token=_BYTES * len(text) / size if size else _BYTES,
        tools=[part for part in tools if isinstance(part, dict)],
    )


def answer_limit(params: Mapping[str, Any], metadata: Mapping[str, Any]) -> int | None:
    """The largest number of tokens that a call's answers may have. None if the call sets none.

    Args:
        params: What the model is called with.
        metadata: What LangChain tells of the model.

    Example:
        >>> answer_limit({"max_tokens": 20, "n": 2}, {})
        40
    """
    for told in (*(params.get(name) for name in _LIMITS), metadata.get("ls_max_tokens")):
        if isinstance(told, int) and told > 0:
            return told * int(params.get("n") or 1)
    return None


def is_from_cache(result: LLMResult) -> bool:
    """Whether an answer came from LangChain's cache, so that nothing was paid for it.

    LangChain marks a kept message by a cost of 0. One that was kept as a mere text has no id, as each new one has.
    """
    message = _message(result)
    if message is None:
        return False
    return message.id is None or dict(message.usage_metadata or {}).get("total_cost", None) == 0


def told_usage(result: LLMResult) -> dict[str, Any] | None:
    """The tokens that a provider reports. None if it does not.

    Example:
        >>> told_usage(LLMResult(generations=[], llm_output={"token_usage": {"prompt_tokens": 9}}))
        {'input_tokens': 9, 'output_tokens': 0}
    """
    message = _message(result)
    usage = dict((message.usage_metadata if message is not None else None) or {})
    if usage.get("input_tokens") is not None:
        return usage
    totals = (result.llm_output or {}).get("token_usage") or {}
    if not totals.get("prompt_tokens"):
        return None
    return {"input_tokens": totals["prompt_tokens"], "output_tokens": totals.get("completion_tokens") or 0}


def said_tokens(result: LLMResult | None) -> int:
    """How many tokens an answer, or a part of one, has by its text. 0 if nothing was said."""
    said = [generation for each in (result.generations if result else ()) for generation in each]
    return sum(estimated_tokens([_as_message(generation)]) for generation in said if _has_said(generation))


def _message(result: LLMResult) -> AIMessage | None:
    generation = result.generations[0][0] if result.generations and result.generations[0] else None
    message = generation.message if isinstance(generation, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def _as_message(generation: Generation) -> BaseMessage:
    return generation.message if isinstance(generation, ChatGeneration) else AIMessage(generation.text)


def _has_said(generation: Generation) -> bool:
    message = _as_message(generation)
    return bool(message.content or getattr(message, "tool_calls", None))
