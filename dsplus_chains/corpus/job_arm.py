"""`JobArm` asks a large model about a whole batch at once, as a job, and heeds what no later job can mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from dsplus_chains.running.breaker import CircuitBreaker

ROWS = 50_000
"""Rows in one batch, of which those that are deferred become one job."""
AT_ONCE = 4
"""As many batches may be under way, since a job may take hours."""


class JobArm(Runnable[Any, Any]):
    """An arm whose batch stays one batch. A breaker only learns from it whether any further request can succeed.

    Args:
        run: The arm itself.
        breaker: What is told how each row went.
    """

    def __init__(self, run: Runnable[Any, Any], breaker: CircuitBreaker | None) -> None:
        self._arm = run
        self._breaker = breaker

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self.batch([input], config, **kwargs)[0]

    @override
    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        configs: Any = config
        outputs = self._arm.batch(inputs, configs, return_exceptions=True, **kwargs)
        errors = [output for output in outputs if isinstance(output, Exception)]
        if self._breaker is not None:
            for error in errors:
                self._breaker.heard(error)
        if errors and not return_exceptions:
            raise errors[0]
        return outputs
