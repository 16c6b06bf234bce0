"""Drivers fulfil the requests of a flow. One driver calls, the other awaits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import aclosing
from contextvars import copy_context
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor

import dsplus_chains.running.forking  # noqa: F401  whoever runs a flow may fork
from dsplus_chains.running.flow import Begin, Chunk, Closed, Completed, Flow, Open, Outcome, StreamFlow, Work
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import describe_error


def drive(flow: Flow | StreamFlow) -> Any:
    """Run a flow to its end, and return its result."""
    pieces = drive_stream(flow)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def drive_stream(flow: Flow | StreamFlow) -> Generator[Any, None, Any]:
    """Run a flow, and yield its chunks."""
    caller = _Caller()
    reply: Any = None
    error: Exception | None = None
    try:
        while True:
            try:
                wanted = flow.send(reply) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value
            reply = error = None
            if type(wanted) is Chunk:
                yield wanted.value
                continue
            try:
                reply = caller.fulfil(wanted)
            except Exception as failure:
                error = failure
    except GeneratorExit:
        try:
            for wanted in _last_words(flow):
                caller.fulfil(wanted)
        except Exception as failure:
            _tell_untold(failure)
        raise
    finally:
        flow.close()
        caller.close()


async def adrive(flow: Flow | StreamFlow) -> Any:
    """Run a flow to its end under async, and return its result."""
    result: list[Any] = []
    async with aclosing(_asteps(flow, result)) as steps:
        async for _ in steps:
            pass
    return result[0]


async def adrive_stream(flow: Flow | StreamFlow) -> AsyncGenerator[Any, None]:
    """Run a flow under async, and yield its chunks."""
    async with aclosing(_asteps(flow, [])) as steps:
        async for chunk in steps:
            yield chunk


async def _asteps(flow: Flow | StreamFlow, result: list[Any]) -> AsyncGenerator[Any, None]:
    """The chunks of a flow.

    Its result is appended to `result`, because an async generator returns nothing.
    """
    caller = _Awaiter()
    reply: Any = None
    error: Exception | None = None
    try:
        while True:
            try:
                wanted = flow.send(reply) if error is None else flow.throw(error)
            except StopIteration as end:
                result.append(end.value)
                return
            reply = error = None
            if type(wanted) is Chunk:
                yield wanted.value
                continue
            try:
                reply = await caller.fulfil(wanted)
            except Exception as failure:
                error = failure
    except (GeneratorExit, asyncio.CancelledError) as end:
        try:
            for wanted in _last_words(flow):
                if type(wanted) is Work and isinstance(end, asyncio.CancelledError):  # it may wait for a locked file
                    asyncio.get_running_loop().run_in_executor(None, copy_context().run, _told, wanted)
                else:
                    await caller.fulfil(wanted)
        except Exception as failure:
            _tell_untold(failure)
        raise
    finally:
        flow.close()
        await caller.close()


def _last_words(flow: Flow | StreamFlow) -> Generator[Any, None, None]:
    """What a flow still wants when nobody waits for it any more. It gets no results."""
    try:
        wanted = flow.throw(Closed())
        while True:
            if type(wanted) is not Chunk:
                yield wanted
            wanted = next(flow)
    except (StopIteration, Closed):
        return


def _told(wanted: Work) -> None:
    """Do the work of a flow that nobody waits for any more."""
    try:
        wanted.call()
    except Exception as failure:
        _tell_untold(failure)


def _tell_untold(failure: Exception) -> None:
    """Whoever closes a stream gets no error for that."""
    tell_once(f"A stream that was closed early could not be told: {describe_error(failure)}", type(failure).__name__)


class _Caller:
    """Fulfils requests by calling. Parallel work runs in threads, which know the caller's context variables."""

    def __init__(self) -> None:
        self._executor: ContextThreadPoolExecutor | None = None
        self._begun: dict[Future[Outcome], Any] = {}
        self._streams: list[Any] = []

    def fulfil(self, wanted: Any) -> Any:
        if type(wanted) is Begin:
            if self._executor is None:
                self._executor = ContextThreadPoolExecutor()
            self._begun[self._executor.submit(wanted.ask.call)] = wanted.key
            return None
        if type(wanted) is Completed:
            done = wait(self._begun, return_when=FIRST_COMPLETED).done
            ended = [future for future in self._begun if future in done]  # in the order in which they were begun
            return [(self._begun.pop(future), future.result()) for future in ended]
        reply = wanted.call()
        if type(wanted) is Open:
            self._streams.append(reply)
        return reply

    def close(self) -> None:
        """Release all work under way, since nobody waits for it any more."""
        for stream in self._streams:
            if hasattr(stream, "close"):
                stream.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


class _Awaiter:
    """Fulfils requests by awaiting. Parallel work runs as tasks of the loop."""

    def __init__(self) -> None:
        self._begun: dict[asyncio.Task[Outcome], Any] = {}
        self._streams: list[Any] = []

    async def fulfil(self, wanted: Any) -> Any:
        if type(wanted) is Begin:
            self._begun[asyncio.create_task(wanted.ask.acall())] = wanted.key
            return None
        if type(wanted) is Completed:
            done, _ = await asyncio.wait(self._begun, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in self._begun if task in done]
            return [(self._begun.pop(task), task.result()) for task in ended]
        reply = await wanted.acall()
        if type(wanted) is Open:
            self._streams.append(reply)
        return reply

    async def close(self) -> None:
        for task in self._begun:
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)
        for stream in self._streams:
            if hasattr(stream, "aclose"):
                await stream.aclose()
