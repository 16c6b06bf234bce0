"""One call of a Runnable for a whole batch, timed; a failure of the whole batch is the failure of each row."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

from langchain_core.runnables import Runnable

from dsplus_chains._runnable import Configs
from dsplus_chains.schema import DSPlusError


class BatchSizeError(DSPlusError):
    """A Runnable's batch returned more or fewer results than it got inputs."""


class Outcome(NamedTuple):
    """What a batch came to: one output a row, an exception where the row failed, and how long all of it took."""

    outputs: list[Any]
    seconds: float


def run_batch(run: Runnable[Any, Any], inputs: list[Any], configs: Configs, **kwargs: Any) -> Outcome:
    """Run a batch; no call is made if there is no row."""
    started = perf_counter()
    try:
        outputs: Any = run.batch(inputs, configs, return_exceptions=True, **kwargs) if inputs else []
    except Exception as error:  # a batch of one's own that does not heed return_exceptions
        outputs = [error] * len(inputs)
    return Outcome(_one_each(outputs, inputs), perf_counter() - started)


async def arun_batch(run: Runnable[Any, Any], inputs: list[Any], configs: Configs, **kwargs: Any) -> Outcome:
    """The same under async."""
    started = perf_counter()
    try:
        outputs: Any = await run.abatch(inputs, configs, return_exceptions=True, **kwargs) if inputs else []
    except Exception as error:
        outputs = [error] * len(inputs)
    return Outcome(_one_each(outputs, inputs), perf_counter() - started)


def _one_each(outputs: list[Any], inputs: list[Any]) -> list[Any]:
    if len(outputs) == len(inputs):
        return outputs
    return [BatchSizeError(f"got {len(inputs)} inputs but returned {len(outputs)} results")] * len(inputs)
