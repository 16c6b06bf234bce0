"""The large model's answer to one input, and its reason for overriding the small model."""

from __future__ import annotations

from typing import Any

from langchain_core.messages.ai import UsageMetadata
from typing_extensions import override

from dsplus_chains.schema.prediction import Confidence
from dsplus_chains.schema.value import Value


class Explanation(Value):
    """Why the large model overrode the small one, in its own words. See `OverrideExplainer`.

    Args:
        text: The large model's words. None if the call failed.
        error: The reason why there is no text.
        usage: Tokens of this call, where the provider reports them.
    """

    text: str | None = None
    error: str | None = None
    usage: UsageMetadata | None = None

    @override
    def __str__(self) -> str:
        return self.text or f"no explanation: {self.error}"


class LargeAnswer(Value):
    """What the large model itself said of one input, before any fusion.

    Args:
        value: Its answer. None if it failed before it gave one.
        confidence: Its own confidence in [0, 1], where the provider reports it, else None.
        usage: Tokens of all its calls for this input, else None.
        explanation: Why it overrode the small model, if it was asked.
        rationale: The reason that it gave beside its label, if the task asks for one.
        cut_off: Whether the answer ended before it was whole, mostly for want of tokens. A free text stays the answer,
            as far as it goes. No label is read of such an answer.
    """

    value: Any = None
    confidence: Confidence = None
    usage: UsageMetadata | None = None
    explanation: Explanation | None = None
    rationale: str | None = None
    cut_off: bool = False
