"""Flows describe all that is done with a batch, except the calls themselves.

A flow is a generator. It yields requests and is sent their results, so it is written once. A driver fulfils the
requests. `drivers.drive` calls, and `drivers.adrive` awaits. Every request can be fulfilled in both ways.

Source: the sans-IO pattern, as in httpx's `_auth.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from dsplus_chains.schema import DSPlusError

Manager: TypeAlias = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
"""The run manager of one row."""
Configs: TypeAlias = list[RunnableConfig]
Flow: TypeAlias = Generator[Any, Any, Any]
"""Yields requests and returns one result for each row. It is an output, or an exception where the row failed."""
StreamFlow: TypeAlias = Generator[Any, Any, None]
"""Yields requests, and a `Chunk` for each piece of the output of one row."""


class BatchSizeError(DSPlusError):
    """A Runnable's batch returned more or fewer results than it got inputs."""


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
    """

    run: Runnable[Any, Any]
    inputs: list[Any]
    configs: Configs
    kwargs: dict[str, Any] = field(default_factory=dict)

    @override
    def call(self) -> Outcome:
        started = perf_counter()
        outputs: Any = []
        try:
            if self.inputs:
                outputs = self.run.batch(self.inputs, self.configs, return_exceptions=True, **self.kwargs)
        except Exception as error:  # a custom batch may ignore return_exceptions
            outputs = [error] * len(self.inputs)
        return Outcome(self._one_each(outputs), perf_counter() - started)

    @override
    async def acall(self) -> Outcome:
        started = perf_counter()
        outputs: Any = []
        try:
            if self.inputs:
                outputs = await self.run.abatch(self.inputs, self.configs, return_exceptions=True, **self.kwargs)
        except Exception as error:
            outputs = [error] * len(self.inputs)
        return Outcome(self._one_each(outputs), perf_counter() - started)

    def _one_each(self, outputs: list[Any]) -> list[Any]:
        raise_interrupts(outputs)
        if len(outputs) == len(self.inputs):
            return outputs
        error = BatchSizeError(f"got {len(self.inputs)} inputs but returned {len(outputs)} results")
        return [error] * len(self.inputs)


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
    """A stream of another Runnable. Its result is a handle for `Next`. The driver closes streams that are left open."""

    run: Runnable[Any, Any]
    value: Any
    config: RunnableConfig
    kwargs: dict[str, Any] = field(default_factory=dict)

    @override
    def call(self) -> Iterator[Any]:
        return self.run.stream(self.value, self.config, **self.kwargs)

    @override
    async def acall(self) -> AsyncIterator[Any]:
        return self.run.astream(self.value, self.config, **self.kwargs)


@dataclass(frozen=True, slots=True)
class Next(Request):
    """The next chunk of a stream. Its result is `END` if there is none."""

    stream: Any

    @override
    def call(self) -> Any:
        return next(self.stream, END)

    @override
    async def acall(self) -> Any:
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


END: Any = object()
"""The result of `Next` at the end of a stream."""


def raise_interrupts(outputs: Iterable[Any]) -> None:
    """Raise an interrupt, such as a cancellation, Ctrl-C or an exit. It is neither an output nor a row's error.

    LangChain's ``batch(return_exceptions=True)`` returns whatever was raised, interrupts too.
    """
    for output in outputs:
        if isinstance(output, BaseException) and not isinstance(output, Exception):
            raise output
