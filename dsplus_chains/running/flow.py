"""Flows describe all that is done with a batch, except the calls themselves.

A flow is a generator. It yields requests and is sent their results, so it is written once. A driver fulfils the
requests. `drivers.drive` calls, and `drivers.adrive` awaits. Every request can be fulfilled in both ways.

Source: the sans-IO pattern, as in httpx's `_auth.py`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any, NamedTuple, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.pulled_stream import END, PulledStream
from dsplus_chains.running.stale_loops import AGAIN, is_stale
from dsplus_chains.running.unheard import within
from dsplus_chains.schema import DSPlusError

Manager: TypeAlias = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
"""The run manager of one row."""
Configs: TypeAlias = list[RunnableConfig]
Flow: TypeAlias = Generator[Any, Any, Any]
"""Yields requests and returns one result for each row. It is an output, or an exception where the row failed."""
StreamFlow: TypeAlias = Generator[Any, Any, None]
"""Yields requests, and a `Chunk` for each piece of the output of one row."""


MOST = 100
"""As many rows are under way at once where nobody says otherwise: sockets are files, and a process may open few."""


class BatchSizeError(DSPlusError):
    """A Runnable's batch returned more or fewer results than it got inputs."""


def wrong_size(inputs: int, results: int) -> BatchSizeError:
    """The error of a batch that has another number of results than of inputs."""
    return BatchSizeError(f"got {inputs} inputs but returned {results} results")


class Closed(BaseException):
    """Raised inside of a flow that nobody waits for any more, such as that of a stream which is closed early.

    The flow may still yield requests, to tell what it was at. Then it lets the error through. Its chunks go nowhere.
    """


class Outcome(NamedTuple):
    """The result of a batch.

    It holds one output for each row, or an exception where the row failed. It also holds the time that the batch took.
    """

    outputs: list[Any]
    seconds: float


class Request(ABC):
    """A request of a flow, which can be fulfilled in two ways."""

    __slots__ = ()

    @abstractmethod
    def call(self) -> Any:
        """Fulfil it now."""

    @abstractmethod
    async def acall(self) -> Any:
        """Fulfil it without blocking the loop."""


@dataclass(frozen=True, slots=True)
class Ask(Request):
    """A batch of another Runnable. Its result is an `Outcome`.

    No call is made if there is no row. If the whole batch fails, or returns another number of results, each row fails.
    A `BaseException` that is no `Exception`, such as a cancellation, is raised.

    `managers` are the run managers of the flow that asks. Where nobody hears them, a Runnable of ours makes no runs.
    """

    run: Runnable[Any, Any]
    inputs: list[Any]
    configs: Configs
    kwargs: dict[str, Any] = field(default_factory=dict)
    managers: Sequence[Manager] = ()

    @override
    def call(self) -> Outcome:
        started = perf_counter()
        outputs: Any = []
        try:
            if self.inputs:
                configs = within(self.run, self.configs, self.managers, awaits=False)
                outputs = self.run.batch(self.inputs, configs, return_exceptions=True, **self.kwargs)
        except Exception as error:  # a custom batch may ignore return_exceptions
            outputs = [error] * len(self.inputs)
        return Outcome(self._one_each(outputs), perf_counter() - started)

    @override
    async def acall(self) -> Outcome:
        started = perf_counter()
        outputs: Any = []
        try:
            if self.inputs:
                outputs = await self._batch(range(len(self.inputs)))
                for _ in range(AGAIN):
                    if not (stale := [row for row, output in enumerate(outputs) if is_stale(output)]):
                        break
                    for row, output in zip(stale, await self._batch(stale), strict=True):
                        outputs[row] = output
        except Exception as error:
            outputs = [error] * len(self.inputs)
        return Outcome(self._one_each(outputs), perf_counter() - started)

    async def _batch(self, rows: Sequence[int]) -> list[Any]:
        inputs, configs = [self.inputs[row] for row in rows], [bound(self.configs[row]) for row in rows]
        quiet = within(self.run, configs, self.managers, awaits=True)
        return list(await self.run.abatch(inputs, quiet, return_exceptions=True, **self.kwargs))

    def _one_each(self, outputs: list[Any]) -> list[Any]:
        raise_interrupts(outputs)
        if len(outputs) == len(self.inputs):
            return outputs
        return [wrong_size(len(self.inputs), len(outputs))] * len(self.inputs)


@dataclass(frozen=True, slots=True)
class Work(Request):
    """Slow work of our own. Its result is the function's result. Under async it runs in a thread."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    @override
    def call(self) -> Any:
        return self.function(*self.args)

    @override
    async def acall(self) -> Any:
        return await run_in_executor(None, self.function, *self.args)


@dataclass(frozen=True, slots=True)
class Do(Request):
    """Work that can be called or awaited, such as that of a store. Its result is the function's result."""

    function: Callable[..., Any]
    afunction: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]

    @override
    def call(self) -> Any:
        return self.function(*self.args)

    @override
    async def acall(self) -> Any:
        return await self.afunction(*self.args)


@dataclass(frozen=True, slots=True)
class Wait(Request):
    """What another thread will give. Its result is that of the future. Who is interrupted gives it up."""

    future: Future[Any]

    @override
    def call(self) -> Any:
        try:
            return self.future.result()
        except BaseException:
            self.future.cancel()
            raise

    @override
    async def acall(self) -> Any:
        return await asyncio.wrap_future(self.future)


@dataclass(frozen=True, slots=True)
class Tell(Request):
    """A custom event of a row's run, for any listener. Its result is None."""

    manager: Any
    name: str
    data: dict[str, Any]

    @override
    def call(self) -> None:
        self.manager.get_child().on_custom_event(self.name, self.data, run_id=self.manager.run_id)

    @override
    async def acall(self) -> None:
        await self.manager.get_child().on_custom_event(self.name, self.data, run_id=self.manager.run_id)


@dataclass(frozen=True, slots=True)
class Open(Request):
    """A stream of another Runnable. It is fulfilled by a handle for `Next`. The driver closes what is left open.

    A `timed` stream is one whose next chunk is waited for in vain only so long. Without async it is read in a thread.
    """

    run: Runnable[Any, Any]
    value: Any
    config: RunnableConfig
    kwargs: dict[str, Any] = field(default_factory=dict)
    timed: bool = False

    @override
    def call(self) -> Any:
        stream = self.run.stream(self.value, self.config, **self.kwargs)
        return PulledStream(stream) if self.timed else stream

    @override
    async def acall(self) -> AsyncIterator[Any]:
        return _renewed(lambda: self.run.astream(self.value, self.config, **self.kwargs))


@dataclass(frozen=True, slots=True)
class Next(Request):
    """The next chunk of a stream. It is fulfilled by `END` if there is none.

    With `until`, a point of `time.monotonic`, it is a TimeoutError if there is no chunk by then.
    """

    stream: Any
    until: float | None = None

    @override
    def call(self) -> Any:
        if self.until is None:
            return next(self.stream, END)
        return self.stream.pull(max(0.0, self.until - monotonic()))

    @override
    async def acall(self) -> Any:
        if self.until is None:
            return await anext(self.stream, END)
        async with asyncio.timeout(max(0.0, self.until - monotonic())):
            return await anext(self.stream, END)


@dataclass(frozen=True, slots=True)
class Begin:
    """A batch to begin beside others that are under way. Its result comes at once and is None."""

    key: Any
    ask: Ask


class Completed:
    """A request to wait until some begun batch is done. Its result is pairs of a key and an `Outcome`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the output, for a stream. A driver that does not stream passes over it."""

    value: Any


def bound(config: RunnableConfig) -> RunnableConfig:
    """The config of a row of an asynchronous batch, whose rows would else all be under way at once."""
    return config if config.get("max_concurrency") else {**config, "max_concurrency": MOST}


async def _renewed(opened: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """A stream that is opened again where it met a connection of a closed event loop before its first chunk."""
    for again in reversed(range(AGAIN + 1)):
        stream, started = opened(), False
        try:
            async for chunk in stream:
                started = True
                yield chunk
        except Exception as error:
            if started or not again or not is_stale(error):
                raise
        else:
            return
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()
