"""`WriteBehind`: a bounded queue, and one thread that writes what is in it."""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from dsplus_chains.running.forking import ForkLock, free_after_fork

THREAD = "dsplus-experience"
"""Name of the threads that write."""


class WriteBehind:
    """Gives things to a function, some at a time, in a thread of its own. Whoever puts one in does not wait.

    A forked process has a queue and a thread of its own. What was waiting at the fork is the parent's to write.

    Args:
        write: The function. It gets a list of things, and raises nothing.
        most: So many things wait at most.
        pause: Seconds for which the thread collects things before it writes them.
    """

    def __init__(self, write: Callable[[list[Any]], None], *, most: int, pause: float) -> None:
        self._write = write
        self._most = most
        self._pause = pause
        self._writing = ForkLock()
        self._beginning = ForkLock()
        self._closed = False
        self.free()
        free_after_fork(self)
        self._begin()

    def free(self) -> None:
        """Begin with an empty queue and without a thread, as a forked process does."""
        self._waiting: deque[Any] = deque()
        self._has_thread = False
        self._wake, self._end = Event(), Event()

    def put(self, thing: Any) -> bool:
        """Put a thing in. False if the queue is full or closed."""
        if self._closed or len(self._waiting) >= self._most:
            return False
        self._waiting.append(thing)  # a deque's append is atomic
        if not self._wake.is_set():  # the thread is idle, or not there
            self._begin()
            self._wake.set()
        return True

    def flush(self) -> None:
        """Write all that waits now."""
        with self._writing:
            things = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if things:
                self._write(things)

    def close(self) -> None:
        """Write all that waits, and end the thread."""
        self._closed = True
        self._end.set()
        self._wake.set()
        self.flush()

    def _begin(self) -> None:
        """Start the thread, if this process has none."""
        with self._beginning:
            if not self._has_thread:
                Thread(target=self._run, args=(self._wake, self._end), name=THREAD, daemon=True).start()
                self._has_thread = True
                _flush_with_worker(self)

    def _run(self, wake: Event, end: Event) -> None:
        while not end.wait(self._pause):
            if self._waiting:
                self.flush()
                continue
            wake.clear()
            if not self._waiting and not end.is_set():  # neither has come before the event was cleared
                wake.wait()


def _flush_with_worker(queue: WriteBehind) -> None:
    """Have a queue flushed at the end of a worker of `multiprocessing`, which ends without an interpreter's exit."""
    util = sys.modules.get("multiprocessing.util")  # no worker without it
    if util is not None:
        _flush_in_the_end(queue)
        util.register_after_fork(queue, _flush_in_the_end)  # a worker begins by forgetting what it is to do in the end


def _flush_in_the_end(queue: WriteBehind) -> None:
    sys.modules["multiprocessing.util"].Finalize(queue, _flush, args=(weakref.ref(queue),), exitpriority=0)


def _flush(found: weakref.ref[WriteBehind]) -> None:
    queue = found()
    if queue is not None:
        queue.flush()
