"""How sure a chat model is of its text, if its provider reports it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import ROUNDING


def told_confidence(message: Any) -> float | None:
    """The probability of a whole message, from its log-probabilities. None if it has none.

    Args:
        message: Message with `response_metadata["logprobs"]`, as in OpenAI's protocol (`ChatOpenAI(logprobs=True)`). It
            may have `choice_logprobs` instead, as from a `LocalChatModel` that chose among labels.

    Example:
        >>> from langchain_core.messages import AIMessage
        >>> tokens = [{"token": "neg", "logprob": -0.1}, {"token": "ative", "logprob": 0.0}]
        >>> round(told_confidence(AIMessage("negative", response_metadata={"logprobs": {"content": tokens}})), 2)
        0.9
    """
    told = getattr(message, "response_metadata", None) or {}
    choices, logprobs = told.get("choice_logprobs"), told.get("logprobs")
    try:
        if isinstance(choices, Mapping):
            total = float(choices.get(str(message.text), math.nan))
        else:
            tokens = logprobs["content"] if isinstance(logprobs, Mapping) else None
            total = math.fsum(token["logprob"] for token in tokens) if tokens else math.nan
    except (KeyError, TypeError, ValueError, OverflowError):  # another provider's form of log-probabilities
        return None
    return math.exp(min(total, 0.0)) if total <= ROUNDING else None
