"""Bounds on time, and waiting, that hold whatever the machine and the other tests do."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType

PATIENCE = 60.0
"""Seconds after which what a test waits for is said to hang. No machine is that slow."""


@contextmanager
def no_garbage() -> Generator[None]:
    """No garbage is collected in the block. That goes through the objects of all tests before this one."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def at_most(seconds: float, clock: Callable[[], float] = time.thread_time) -> Generator[None]:
    """The block takes at most so many seconds of a processor.

    By default the work of this thread counts, so nobody else's does; `time.process_time` is for work in several
    threads.
    """
    with no_garbage():
        started = clock()
        yield
        took = clock() - started
    assert took <= seconds, f"{took:.2f} s of a processor where {seconds:g} s are the bound"


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    for _ in _looks():
        if holds():
            return
        time.sleep(0.002)


async def auntil(holds: Callable[[], object]) -> None:
    """Wait until something holds, and let the event loop go on."""
    for _ in _looks():
        if holds():
            return
        await asyncio.sleep(0.002)


def _looks() -> Iterator[None]:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        yield
    msg = f"it does not hold after {PATIENCE:g} s"
    raise AssertionError(msg)


class Try:
    """A block that is given so many seconds. It may fail, unless it is the last one."""

    def __init__(self, seconds: float, *, is_last: bool) -> None:
        self.seconds = seconds
        self.failed = False
        self._is_last = is_last

    def __enter__(self) -> float:
        return self.seconds

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        self.failed = isinstance(error, AssertionError)
        return self.failed and not self._is_last


def longer(seconds: float, tries: int = 3) -> Iterator[Try]:
    """Tries of a test with ever longer limits, up to the first that holds.

    A limit that one thing must keep and another must not can be neither short nor long. What takes for ever is shown by
    the first try, and what only a busy machine makes late is in time in the second one.

    Example:
        >>> for one in longer(0.2):
        ...     with one as seconds:
        ...         assert seconds > 1
        >>> one.seconds
        2.0
    """
    for number in range(tries):
        one = Try(seconds * 10**number, is_last=number == tries - 1)
        yield one
        if not one.failed:
            return
