"""`WholeArm` asks a large model about a whole batch at once, and heeds what no later request can mend."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced_each


class WholeArm(BatchRunnable[Any, Any]):
    """An arm whose batch stays one batch, as a job or a group of rows needs it. No row has a time limit of its own.

    A breaker only learns from it whether any further request can succeed.

    Args:
        run: The arm itself.
        breaker: What is told how each row went.
    """

    run: Runnable[Any, Any]
    breaker: InstanceOf[CircuitBreaker] | None

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        configs = traced_each(config, run_manager, "whole")
        outputs = (yield Ask(self.run, inputs, configs, kwargs, managers=run_manager)).outputs
        if self.breaker is not None:
            for error in (output for output in outputs if isinstance(output, Exception)):
                self.breaker.heard(error)
        return outputs
