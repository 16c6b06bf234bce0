"""Bounds on time that hold whatever the machine and the other tests do."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def at_most(seconds: float, clock: Callable[[], float] = time.thread_time) -> Generator[None]:
    """The block takes at most so many seconds of a processor.

    By default the work of this thread counts, so nobody else's does; `time.process_time` is for work in several
    threads. A collection of garbage goes through the objects of all tests before this one, so there is none.
    """
    collecting = gc.isenabled()
    gc.disable()
    started = clock()
    try:
        yield
        took = clock() - started
    finally:
        if collecting:
            gc.enable()
    assert took <= seconds, f"{took:.2f} s of a processor where {seconds:g} s are the bound"
