"""`WholeArm` asks a large model about a whole batch at once, and heeds a circuit breaker."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.outage import is_outage
from dsplus_chains.running.usage import traced_each


class WholeArm(BatchRunnable[Any, Any]):
    """An arm whose batch stays one batch, as a job or a group of rows needs it. No row has a time limit of its own.

    An open breaker refuses the whole batch. A batch of which any row was answered closes it.

    Args:
        run: The arm itself.
        breaker: What is told how each row went.
        refuses: Whether an open breaker refuses a batch. A job is asked for all the same, since it has many rows.
    """

    run: Runnable[Any, Any]
    breaker: InstanceOf[CircuitBreaker] | None
    refuses: bool = True

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        if self.breaker is not None and self.refuses and (refusal := self.breaker.refusal()) is not None:
            return [refusal] * len(inputs)
        configs = traced_each(config, run_manager, "whole")
        try:
            outputs = (yield Ask(self.run, inputs, configs, kwargs, managers=run_manager)).outputs
        except BaseException:
            if self.breaker is not None:
                self.breaker.abandon()
            raise
        if self.breaker is not None:
            for error in sorted(map(_error_of, outputs), key=_is_answered):  # the rows of a batch have no order in time
                self.breaker.heard(error)
        return outputs


def _error_of(output: Any) -> Exception | None:
    return output if isinstance(output, Exception) else None


def _is_answered(error: Exception | None) -> bool:
    return error is None or not is_outage(error)
