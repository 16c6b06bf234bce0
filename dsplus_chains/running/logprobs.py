"""How sure a chat model is of what it wrote, where its provider tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import ROUNDING


def told_confidence(message: Any) -> float | None:
    """The probability of a whole message, by the log-probabilities that came with it; None if none did.

    Args:
        message: With `response_metadata["logprobs"]`, as OpenAI's protocol has it (`ChatOpenAI(logprobs=True)`), or
            with `choice_logprobs`, as a `LocalChatModel` that chose among labels tells them.

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
    except (KeyError, TypeError, ValueError, OverflowError):  # another provider's idea of log-probabilities
        return None
    return math.exp(min(total, 0.0)) if total <= ROUNDING else None
