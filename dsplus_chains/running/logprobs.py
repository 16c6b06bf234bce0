"""How sure a chat model is of its text, if its provider reports it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import ROUNDING


def told_confidence(message: Any) -> float | None:
    """The probability of a whole message, from its log-probabilities. None if it has none.

    Args:
        message: Message whose `response_metadata` has the tokens' log-probabilities as its provider gives them. Known
            forms are those of OpenAI (`ChatOpenAI(logprobs=True)`, the server of llama.cpp), of Ollama
            (`ChatOllama(logprobs=True)`), of llama-cpp-python, and of llama.cpp's own completions. It may have
            `choice_logprobs` instead, as from a `LocalChatModel` that chose among labels.

    Example:
        >>> from langchain_core.messages import AIMessage
        >>> tokens = [{"token": "neg", "logprob": -0.1}, {"token": "ative", "logprob": 0.0}]
        >>> round(told_confidence(AIMessage("negative", response_metadata={"logprobs": {"content": tokens}})), 2)
        0.9
        >>> round(told_confidence(AIMessage("negative", response_metadata={"logprobs": tokens})), 2)
        0.9
    """
    told = getattr(message, "response_metadata", None) or {}
    choices = told.get("choice_logprobs")
    try:
        if isinstance(choices, Mapping):
            total = float(choices.get(str(message.text), math.nan))
        else:
            tokens = _tokens(told)
            total = math.fsum(_log_of(token) for token in tokens) if tokens else math.nan
    except (KeyError, TypeError, ValueError, OverflowError):  # another provider's form of log-probabilities
        return None
    return math.exp(min(total, 0.0)) if total <= ROUNDING else None


def _tokens(told: Mapping[str, Any]) -> Any:
    """What the provider says of each token: OpenAI, a completion of llama-cpp-python, Ollama, or llama.cpp's own."""
    logprobs = told.get("logprobs")
    if isinstance(logprobs, Mapping):
        if "content" in logprobs:
            return logprobs["content"]
        return [{"logprob": logprob} for logprob in logprobs["token_logprobs"]]
    return told.get("completion_probabilities") if logprobs is None else logprobs


def _log_of(token: Any) -> float:
    """The natural logarithm of one token's probability."""
    if "logprob" in token:
        return float(token["logprob"])
    if "prob" in token:  # llama.cpp with post_sampling_probs
        return math.log(token["prob"])
    by_token = {one["tok_str"]: one["prob"] for one in token["probs"]}  # its servers before 2025
    return math.log(by_token[token["content"]])
