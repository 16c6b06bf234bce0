"""Which of several models was chosen for an input, and why."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from typing_extensions import override

from dsplus_chains.schema.value import Value


class ModelChoice(Value):
    """The model that was asked about an input.

    Args:
        model: Its name.
        expected: The score that it will get, calibrated for a model that was chosen. None for one that stood in.
        foreseen: The score that was foreseen for each model. That of the chosen one is optimistic.
        failed: Why each model that was asked before has failed.

    Example:
        >>> str(ModelChoice(model="7b", expected=0.62))
        '7b (expected score 0.62)'
    """

    model: str
    expected: float | None = None
    foreseen: Mapping[str, float] = Field(default_factory=dict)
    failed: Mapping[str, str] = Field(default_factory=dict)

    @override
    def __str__(self) -> str:
        return self.model if self.expected is None else f"{self.model} (expected score {self.expected:.2f})"
