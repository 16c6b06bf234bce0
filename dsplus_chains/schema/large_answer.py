"""What the large model says of one input: its answer, and why it overrode the small model."""

from __future__ import annotations

from typing import Any

from langchain_core.messages.ai import UsageMetadata
from typing_extensions import override

from dsplus_chains.schema.prediction import Confidence
from dsplus_chains.schema.value import Value


class Explanation(Value):
    """Why the large model overrode the small one, in its own words; see `OverrideExplainer`.

    Args:
        text: What it said; None if it failed.
        error: Why there is no text.
        usage: The tokens of this call, where the provider tells them.
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
        value: Its answer; None if it failed before it said anything that counts as one.
        confidence: Its own confidence in [0, 1], where the provider tells it, else None.
        usage: The tokens of all its calls for this input, else None.
        explanation: Why it overrode the small model, if it was asked.
    """

    value: Any = None
    confidence: Confidence = None
    usage: UsageMetadata | None = None
    explanation: Explanation | None = None
