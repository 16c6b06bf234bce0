"""`WriteBehind`: a bounded queue, and one thread that writes what is in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from os import getpid
from threading import Event, Thread
from typing import Any

from dsplus_chains.running.forking import ForkLock


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
        self._waiting: deque[Any] = deque()
        self._writing = ForkLock()
        self._beginning = ForkLock()
        self._closed = False
        self._process = 0
        self._begin()

    def put(self, thing: Any) -> bool:
        """Put a thing in. False if the queue is full or closed."""
        if self._closed:
            return False
        if self._process != getpid():
            self._begin()
        if len(self._waiting) >= self._most:
            return False
        self._waiting.append(thing)  # a deque's append is atomic
        if not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self) -> None:
        """Write all that waits now."""
        if self._process != getpid():
            return  # what waits is the parent's
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
        """Start the thread of this process."""
        with self._beginning:
            if self._process == getpid():
                return
            self._waiting.clear()
            self._wake, self._end = Event(), Event()  # a fork may have copied one that is being set
            Thread(target=self._run, args=(self._wake, self._end), name="dsplus-experience", daemon=True).start()
            self._process = getpid()

    def _run(self, wake: Event, end: Event) -> None:
        while not end.is_set():
            wake.wait()
            end.wait(self._pause)
            wake.clear()
            self.flush()
