"""`Gate` is what all shunts share: who is kept, how the large arm is asked, and who stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from time import monotonic
from typing import Any, Literal, NamedTuple

from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, InstanceOf

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.each import AskEach
from dsplus_chains.running.endings import as_refusal
from dsplus_chains.running.flow import Ask, Manager, Open, StreamFlow, raise_interrupts
from dsplus_chains.running.outage import is_callers_bug
from dsplus_chains.running.telling import LOGGER
from dsplus_chains.running.usage import UsageCollector, watched
from dsplus_chains.schema import (
    LargeAnswer,
    Prediction,
    Threshold,
    WiringError,
    describe_error,
    is_kept,
    threshold_for,
)

DECISION_EVENT = "dsplus_decision"
"""The name of the custom event for each answered input."""


class LargeCall(NamedTuple):
    """One row's call of the large arm."""

    row: int
    record: dict[str, Any]
    arm_input: Any
    config: RunnableConfig
    collector: UsageCollector


class Gate(BatchRunnable[Any, Any]):
    """A Runnable that keeps what a small model is sure of, and asks a large arm for the rest.

    `ConfidenceBranch` is one over records. `AppShunt` is one around an app. See there for the arguments.
    """

    large: Runnable[Any, Any]
    threshold: Threshold
    max_ood_score: float | None = Field(default=None, ge=0)
    on_large_error: Literal["small", "raise"] = "small"
    on_arm_bug: Literal["raise", "small"] = "raise"
    timeout: float | None = Field(default=None, gt=0)
    deadline: float | None = Field(default=None, gt=0)
    breaker: InstanceOf[CircuitBreaker] | None = None

    def _keeps(self, prediction: Prediction) -> bool:
        """Whether the small model's answer is the answer."""
        return is_kept(prediction, self.threshold, self.max_ood_score)

    def _call(
        self, row: int, record: dict[str, Any], arm_input: Any, config: RunnableConfig, manager: Manager, tag: str
    ) -> LargeCall:
        """One row's call of the large arm, whose tokens are counted."""
        collector = UsageCollector()
        return LargeCall(row, record, arm_input, watched(config, manager, tag, collector), collector)

    def _asked(self, calls: list[LargeCall], kwargs: dict[str, Any]) -> Ask | AskEach:
        """The deferred rows, in one batch; row by row where there is a deadline or a breaker."""
        inputs, configs = [call.arm_input for call in calls], [call.config for call in calls]
        if self.timeout is None and self.deadline is None and self.breaker is None:
            return Ask(self.large, inputs, configs, kwargs)
        return AskEach(
            self.large, inputs, configs, kwargs, timeout=self.timeout, deadline=self.deadline, breaker=self.breaker
        )

    def _opened(
        self, call: LargeCall, kwargs: dict[str, Any], pieces: Callable[[Any, float | None], StreamFlow]
    ) -> StreamFlow:
        """The large arm's answer to one row, piece by piece, within the limits.

        Args:
            call: The row's call.
            kwargs: What the chain was called with.
            pieces: The flow over the opened stream, with the point of time until which the answer has to be there.
        """
        limits = [limit for limit in (self.timeout, self.deadline) if limit is not None]
        until = monotonic() + min(limits) if limits else None
        try:
            with nullcontext() if self.breaker is None else self.breaker.watching():
                stream = yield Open(self.large, call.arm_input, call.config, kwargs, timed=until is not None)
                yield from pieces(stream, until)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer in {min(limits):g} s") from error

    def _stand_in(self, call: LargeCall, error: Exception, *, started: bool = False) -> dict[str, Any]:
        """The small model's answer in place of the large one's, or the error where that is not wanted or possible."""
        raise_interrupts([error])
        small: Prediction = call.record["prediction"]
        is_bug = self.on_arm_bug == "raise" and is_callers_bug(error)
        if self.on_large_error == "raise" or small.label is None or started or is_bug or isinstance(error, WiringError):
            if "small_error" in call.record:
                error.add_note(f"The small model had failed before: {call.record['small_error']}")
            if is_bug and (told := self._told_of_input(call)):
                error.add_note(told)
            raise error
        error = as_refusal(error)
        said = error.llm_output if isinstance(error, OutputParserException) else None
        return {
            "answer": small.value,
            "source": "fallback",
            "error": describe_error(error),
            "large": LargeAnswer(value=said, usage=call.collector.usage),
        }

    def _told_of_input(self, call: LargeCall) -> str:
        """What a caller's bug in the arm may come from, or nothing."""
        del call
        return ""

    def _warn(self, errors: list[str], asked: int) -> None:
        """Say that the small model stood in, and why first."""
        if errors:
            n = len(errors)
            LOGGER.warning("The small model answered for the large one in %d of %d rows: %s", n, asked, errors[0])

    def _event(self, prediction: Prediction, source: str) -> dict[str, Any]:
        """The data of one row's "dsplus_decision"."""
        return {
            "source": source,
            "confidence": prediction.confidence,
            "threshold": threshold_for(self.threshold, prediction),
            "label": prediction.label,
            **({} if self.max_ood_score is None else {"ood_score": prediction.ood_score}),
        }
