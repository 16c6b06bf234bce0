"""`CircuitBreaker`: a model that keeps failing is not asked for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.exceptions import OutputParserException

from dsplus_chains.running.endings import spoken
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.interrupts import is_interrupt
from dsplus_chains.running.outage import is_outage, why_hopeless
from dsplus_chains.schema import DSPlusError, LargeModelError, describe_error

FIRST = 16
"""As many calls are under way at once before any has succeeded. Each success allows one more."""


class CircuitOpenError(DSPlusError):
    """A model was not asked, since it has kept failing. The cause is its last error."""


class CircuitBreaker:
    """Stops asking a model that keeps failing; all runs of a chain share it.

    After `failures` failures in a row it opens: rows are not asked about, and each gets a `CircuitOpenError`. After
    `cooldown` seconds one row is let through. If that one succeeds, the breaker closes, else it waits again. A request
    that can never succeed (a wrong key, no such model) opens it for good; `reset` closes it.

    Only failures of the model count. An answer that is no label shows that the model is there.

    Args:
        failures: How many failures in a row open it, at least 1.
        cooldown: How many seconds it stays open, at least 0.
        clock: Seconds that only rise, for tests.

    Raises:
        ValueError: A number is out of its bounds.

    Source: the circuit breaker of Nygard, "Release It!" (2007).

    Example:
        >>> breaker = CircuitBreaker(failures=2)
        >>> breaker.failed(TimeoutError("no answer")), breaker.failed(TimeoutError("no answer"))
        (None, None)
        >>> print(breaker.refusal())
        not asked, since 2 calls in a row failed (TimeoutError: no answer)
    """

    def __init__(
        self, *, failures: int = 5, cooldown: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if failures < 1 or not cooldown >= 0:
            msg = f"Got failures={failures}, cooldown={cooldown} but expected at least 1 failure and 0 seconds"
            raise ValueError(msg)
        self.failures = failures
        self.cooldown = cooldown
        self._clock = clock
        self._lock = ForkLock()
        self.reset()

    def reset(self) -> None:
        """Close it, and forget what has failed."""
        self._row = 0
        self._error: Exception | None = None
        self._opened: float | None = None
        self._probing = False
        self._successes = 0
        self.hopeless: Exception | None = None
        """The error after which no further request can succeed; None if there was none."""

    @property
    def window(self) -> int:
        """As many calls may be under way at once: few while nothing is known of the model."""
        return FIRST + self._successes

    def refusal(self) -> CircuitOpenError | None:
        """Why a row is not asked about now; None if it may be, and then `heard` has to follow."""
        with self._lock:
            if self._opened is None:
                return None
            if self.hopeless is None and not self._probing and self._clock() - self._opened >= self.cooldown:
                self._probing = True
                return None
            return self._refuse()

    def heard(self, error: BaseException | None) -> None:
        """Take what came of a call: an error, or None where it was answered.

        What the model has said means that it is there. An outage means that it is not. Any other error tells neither.
        """
        failure = error if isinstance(error, Exception) and not is_interrupt(error) else None
        said = isinstance(error, OutputParserException) or (failure is not None and spoken(failure) is not None)
        if error is None or said:
            self.succeeded()
        elif failure is not None and is_outage(failure):
            self.failed(failure)
        else:
            self.abandon()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """One call: refused if the breaker is open, and heard of when it ends.

        Raises:
            CircuitOpenError: It is refused.
        """
        if (refusal := self.refusal()) is not None:
            raise refusal
        try:
            yield
        except BaseException as error:
            self.heard(error)
            raise
        self.heard(None)

    def succeeded(self) -> None:
        """A call was answered."""
        with self._lock:
            if self.hopeless is None:
                self._row, self._opened, self._probing = 0, None, False
            self._successes += 1

    def failed(self, error: Exception) -> None:
        """A call failed."""
        with self._lock:
            self._row += 1
            self._error = error
            if why_hopeless(error) is not None:
                self.hopeless = error
            if self._probing or self._row >= self.failures or self.hopeless is not None:
                self._opened, self._probing, self._successes = self._clock(), False, 0

    def check(self) -> None:
        """Stop where no further request can succeed.

        Raises:
            LargeModelError: The key is refused, or there is no such model.
        """
        if self.hopeless is not None:
            reason = f"{why_hopeless(self.hopeless)} ({describe_error(self.hopeless)})"
            msg = f"The large model cannot be asked, since {reason}"
            raise LargeModelError(msg) from self.hopeless

    def abandon(self) -> None:
        """A call was begun, and what came of it says nothing of the model."""
        with self._lock:
            self._probing = False

    def _refuse(self) -> CircuitOpenError:
        why = None if self.hopeless is None else why_hopeless(self.hopeless)
        last = self.hopeless or self._error
        told = "" if last is None else f" ({describe_error(last)})"
        reason = f"since {why}" if why else f"since {self._row} calls in a row failed"
        refusal = CircuitOpenError(f"not asked, {reason}{told}")
        refusal.__cause__ = last
        return refusal

    def __getstate__(self) -> dict[str, Any]:
        """Its settings alone: a copy, or another process, has failures of its own."""
        return {"failures": self.failures, "cooldown": self.cooldown}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CircuitBreaker.__init__(self, **state)

    def __eq__(self, other: object) -> bool:
        """Whether the settings are the same."""
        return isinstance(other, CircuitBreaker) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        """By the settings."""
        return hash((self.failures, self.cooldown))
