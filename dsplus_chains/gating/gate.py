"""`Gate` is what all shunts share: who is kept, how the large arm is asked, and who stands in for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import Runnable, RunnableConfig, RunnablePassthrough
from pydantic import Field, InstanceOf

from dsplus_chains.gating.large_call import LargeCall, first_alike, handed_on
from dsplus_chains.running.arm import leading_step, reads_label
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budget import Budget
from dsplus_chains.running.budgeted_row import BudgetedRow
from dsplus_chains.running.each import Admit, AskEach
from dsplus_chains.running.endings import as_refusal
from dsplus_chains.running.flow import Ask, Flow, Manager, Open, StreamFlow, Work
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.outage import is_callers_bug, is_unfit_input
from dsplus_chains.running.recorder import MaybeRecorder
from dsplus_chains.running.telemetry import RowUsage, count_decisions, is_nested, is_traced, trace_decisions
from dsplus_chains.running.telling import LOGGER
from dsplus_chains.running.usage import watched
from dsplus_chains.schema import (
    BudgetError,
    LargeAnswer,
    Prediction,
    Threshold,
    WiringError,
    budget_error,
    describe_error,
    is_kept,
    threshold_for,
)

DECISION_EVENT = "dsplus_decision"
"""The name of the custom event for each answered input."""


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
    budget: InstanceOf[Budget] | None = None
    ask_once: bool | Literal["auto"] = "auto"
    experience: MaybeRecorder = None

    def _keeps(self, prediction: Prediction) -> bool:
        """Whether the small model's answer is the answer."""
        return is_kept(prediction, self.threshold, self.max_ood_score)

    def _call(
        self, row: int, record: dict[str, Any], arm_input: Any, config: RunnableConfig, manager: Manager, tag: str
    ) -> LargeCall:
        """One row's call of the large arm, whose tokens are counted."""
        collector = RowUsage()
        budgeted = BudgetedRow(self.budget, collector) if self.budget is not None and self._counts(manager) else None
        more = () if budgeted is None else (budgeted,)
        child = watched(config, manager, tag, collector, *more)
        return LargeCall(row, record, arm_input, child, collector, manager, budgeted)

    def _counts(self, manager: Manager) -> bool:
        """Whether a row is this gate's to count. One inside of another gate's row with the same budget is not."""
        return not any(isinstance(other, BudgetedRow) and other.budget is self.budget for other in manager.handlers)

    def _heard(self, calls: list[LargeCall], kwargs: dict[str, Any]) -> Flow:
        """The output of each call, or its error. Of calls that ask the same, one is made where that is wanted."""
        once = reads_label(self.large) if self.ask_once == "auto" else self.ask_once
        if not once or len(calls) == 1:
            return (yield self._asked(calls, kwargs)).outputs
        first = first_alike(calls)
        made = [calls[place] for place in sorted(set(first))]
        return handed_on(calls, first, (yield self._asked(made, kwargs)).outputs)

    def _asked(self, calls: list[LargeCall], kwargs: dict[str, Any]) -> Ask | AskEach:
        """The deferred rows, in one batch; row by row where there is a deadline, a breaker or a budget."""
        inputs, configs = [call.arm_input for call in calls], [call.config for call in calls]
        budgeted = [call.budgeted for call in calls]
        if self.timeout is None and self.deadline is None and self.breaker is None and not any(budgeted):
            return Ask(self.large, inputs, configs, kwargs, [call.manager for call in calls])
        return AskEach(
            self.large,
            inputs,
            configs,
            kwargs,
            timeout=self.timeout,
            deadline=self.deadline,
            breaker=self.breaker,
            budgeted=budgeted,
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
            if call.budgeted is not None:
                yield Admit(call.budgeted, until)
            with nullcontext() if self.breaker is None else self.breaker.watching():
                stream = yield Open(self.large, call.arm_input, call.config, kwargs, timed=until is not None)
                yield from pieces(stream, until)
        except Exception as error:
            yield from self._ended(call)
            if not isinstance(error, TimeoutError) or str(error) or not limits:
                raise
            msg = f"no answer in {min(limits):g} s"
            raise TimeoutError(msg) from error
        else:
            yield from self._ended(call)
        finally:  # a row that was cancelled can wait for nothing more
            if call.budgeted is not None:
                call.budgeted.abandon()

    def _ended(self, call: LargeCall) -> Flow:
        """End a row, which gives the rest of its budget back."""
        if call.budgeted is not None:
            yield Work(call.budgeted.end, ())

    def _stand_in(self, call: LargeCall, error: Exception, *, started: bool = False) -> dict[str, Any]:
        """The small model's answer in place of the large one's, or the error where that is not wanted or possible."""
        raise_interrupts([error])
        small: Prediction = call.record["prediction"]
        error = call.refused or error  # whatever the arm has made of it
        is_bug = self.on_arm_bug == "raise" and (
            is_callers_bug(error)
            or is_unfit_input(error, leading_step(self.large, RunnablePassthrough), call.arm_input)
        )
        refused = budget_error(error)
        if self._must_raise(refused) or small.label is None or started or is_bug or isinstance(error, WiringError):
            if "small_error" in call.record:
                error.add_note(f"The small model had failed before: {call.record['small_error']}")
            if is_bug and (told := self._told_of_input(call)) not in ("", *getattr(error, "__notes__", ())):
                error.add_note(told)
            raise refused or error
        error = as_refusal(refused or error)
        said = error.llm_output if isinstance(error, OutputParserException) else None
        return {
            "answer": small.value,
            "source": "fallback",
            "error": describe_error(error),
            "large": LargeAnswer(value=said, usage=call.collector.usage),
        }

    def _must_raise(self, refused: BudgetError | None) -> bool:
        """Whether a failure of the large arm, or a spent budget, is an error."""
        return (self.on_large_error if refused is None else refused.spent) == "raise"

    def _told_of_input(self, call: LargeCall) -> str:
        """What a caller's bug in the arm may come from, or nothing."""
        del call
        return ""

    def _count(self, managers: Sequence[Manager], calls: list[LargeCall], results: Sequence[Any]) -> Flow:
        """Tell OpenTelemetry and the budget who answered each row, and what it has cost."""
        self._trace(managers, calls, results)
        if self.budget is None:
            return
        budgeted = {call.row: call.budgeted for call in calls if call.budgeted is not None}
        counted = []
        for row, (manager, result) in enumerate(zip(managers, results, strict=True)):
            if not self._counts(manager):
                continue
            source = "error" if isinstance(result, Exception) else str(result["source"])
            paid = budgeted.get(row)
            counted.append((source, False, 0, 0.0) if paid is None else (source, paid.asked, paid.tokens, paid.usd))
        if counted:
            yield Work(self.budget.count, (counted,))

    def _trace(self, managers: Sequence[Manager], calls: list[LargeCall], results: Sequence[Any]) -> None:
        """Set the decisions on the current span, and count them, where OpenTelemetry is used."""
        if not is_traced():
            return
        asked = {call.row: call for call in calls}
        decided = {}
        for row, result in enumerate(results):
            if not isinstance(result, Exception):
                record = asked[row].record if row in asked else result  # an arm may have put in another prediction
                decided[row] = self._event(record["prediction"], result.get("source", "large"))
        trace_decisions(list(decided.values()))
        own = {row for row, manager in enumerate(managers) if not is_nested(manager.handlers)}
        count_decisions(
            [event["source"] for row, event in decided.items() if row in own],
            [call.collector.usage for row, call in asked.items() if row in own],
        )

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
