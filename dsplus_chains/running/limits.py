"""`Limits`: how long, how patiently and how often a large model is asked, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budget import Budget
from dsplus_chains.schema import InvalidInputError, is_number, what_came

TIMEOUT = 60.0
"""Seconds that a large model has for one row of a command, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long, how patiently and how often a large model is asked.

    Args:
        timeout: Seconds that it has for one row; None sets no limit.
        deadline: Seconds that it has for all rows of a batch together; None sets no limit.
        breaker: What stops asking a model that keeps failing; None asks on.
        budget: What stops asking once so many tokens or dollars are spent; None spends on.

    Raises:
        InvalidInputError: `timeout` or `deadline` is no time.
    """

    timeout: float | None = None
    deadline: float | None = None
    breaker: CircuitBreaker | None = field(default_factory=CircuitBreaker)
    budget: Budget | None = None

    def __post_init__(self) -> None:
        for name, seconds in (("timeout", self.timeout), ("deadline", self.deadline)):
            if seconds is not None and not (is_number(seconds) and seconds > 0):
                msg = f"Got {name}={what_came(seconds)} but expected a number of seconds above 0, or None for no limit"
                raise InvalidInputError(msg)

    @property
    def settings(self) -> dict[str, Any]:
        """As keywords of a `ConfidenceBranch`, or of `data_shunt`."""
        return {"timeout": self.timeout, "deadline": self.deadline, "breaker": self.breaker, "budget": self.budget}

    @property
    def are_hopeless(self) -> bool:
        """Whether no further request can succeed."""
        return self.breaker is not None and self.breaker.hopeless is not None

    def check(self) -> None:
        """Stop where no further request can succeed.

        Raises:
            LargeModelError: The key is refused, or there is no such model.
        """
        if self.breaker is not None:
            self.breaker.check()
