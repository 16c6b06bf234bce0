"""Flows: all that is done with a batch, but for the calls themselves.

A flow is a generator. It yields what it wants done and is sent what came of it, so it is written once. A driver does
what is wanted: `drivers.drive` calls, `drivers.adrive` awaits. Every request can be fulfilled in both ways.

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
"""Yields requests, and returns one result a row: an output, or an exception where the row failed."""
StreamFlow: TypeAlias = Generator[Any, Any, None]
"""Yields requests, and a `Chunk` for each piece of the output of one row."""


class BatchSizeError(DSPlusError):
    """A Runnable's batch returned more or fewer results than it got inputs."""


class Outcome(NamedTuple):
    """What a batch came to: one output a row, an exception where the row failed, and how long all of it took."""

    outputs: list[Any]
    seconds: float


class Request(ABC):
    """Something that a flow wants done, in either of two ways."""

    __slots__ = ()

    @abstractmethod
    def call(self) -> Any:
        """Do it now."""

    @abstractmethod
    async def acall(self) -> Any:
        """Do it without blocking the loop."""


@dataclass(frozen=True, slots=True)
class Ask(Request):
    """A batch of another Runnable; fulfilled by an `Outcome`.

    No call is made if there is no row. If the whole batch fails, or returns another number of results, each row
    fails. What is no `Exception`, such as a cancellation, is raised.
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
        except Exception as error:  # a batch of one's own that does not heed return_exceptions
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
    """Work of our own that takes its time; fulfilled by its result. Under async it is done in a thread."""

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
    """Something that can be called or awaited, such as a store; fulfilled by its result."""

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
    """A custom event of a row's run, for whoever listens; fulfilled by None."""

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
    """A stream of another Runnable; fulfilled by a handle for `Next`. The driver closes what is left open."""

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
    """The next chunk of a stream; fulfilled by `END` if there is none."""

    stream: Any

    @override
    def call(self) -> Any:
        return next(self.stream, END)

    @override
    async def acall(self) -> Any:
        return await anext(self.stream, END)


@dataclass(frozen=True, slots=True)
class Begin:
    """A batch to be begun beside others that are under way; fulfilled at once, by None."""

    key: Any
    ask: Ask


class Completed:
    """Wait until something that was begun is done; fulfilled by pairs of its key and its `Outcome`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the output, for a stream; whoever does not stream passes over it."""

    value: Any


END: Any = object()
"""What `Next` gives at the end of a stream."""


def raise_interrupts(outputs: Iterable[Any]) -> None:
    """Raise what is no output and no error of a row: a cancellation, Ctrl-C, an exit.

    LangChain's ``batch(return_exceptions=True)`` hands back whatever was raised, interrupts too.
    """
    for output in outputs:
        if isinstance(output, BaseException) and not isinstance(output, Exception):
            raise output
