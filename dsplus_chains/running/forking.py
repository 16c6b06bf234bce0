"""What a forked process needs: thread teams that live in it, and locks that are free.

Importing this module registers two handlers with Python. They do nothing until the process forks.

A fork copies one thread alone. libgomp, the OpenMP library of torch, faiss and scikit-learn, keeps the helpers of each
thread for the next loop. In the copy they are missing, and the next loop waits for them without end. So the helpers of
the forking thread are sent home before the fork. Both processes then hire their own.
"""

from __future__ import annotations

import ctypes
import os
import sys
from threading import Lock, local
from typing import Any, Protocol
from weakref import WeakSet

from typing_extensions import override

_SOFT = 1
"""OpenMP's `omp_pause_soft`: end the threads, keep the settings."""

_QUIET = "TOKENIZERS_PARALLELISM"
"""tokenizers reads this in a forked process. If it is not set, it prints a warning and reads texts one by one. If it is
"false", it does the same without the warning."""


class Freed(Protocol):
    """What must forget, in a forked process, the threads that are not there."""

    def free(self) -> None:
        """Forget them."""


class ForkLock:
    """A lock that is free in a forked process, whoever held it. A copy has its own lock.

    Example:
        >>> with ForkLock():
        ...     print("held")
        held
    """

    def __init__(self) -> None:
        self.free()
        free_after_fork(self)

    def free(self) -> None:
        """Forget who holds it."""
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return ForkLock, ()


class _Fork(local):
    """The handlers of a fork, and what one tells the next. Threads may fork at the same time."""

    stuck = quieted = False

    def before(self) -> None:
        """End the OpenMP helpers of this thread, and keep tokenizers from printing."""
        self.stuck = not _end_helpers()
        self.quieted = "tokenizers" in sys.modules and _QUIET not in os.environ
        if self.quieted:
            os.environ[_QUIET] = "false"

    def after_in_parent(self) -> None:
        """Leave the environment as it was."""
        if self.quieted:
            os.environ.pop(_QUIET, None)

    def after_in_child(self) -> None:
        """Free what threads held that are not here. Compute with one thread if the helpers could not be ended."""
        for thing in list(_freed):
            thing.free()
        if self.stuck:
            from threadpoolctl import threadpool_limits

            threadpool_limits(1, "openmp")


def _end_helpers() -> bool:
    """End this thread's helpers in every OpenMP library of GCC that is loaded. Return whether that worked.

    Other OpenMP libraries mend themselves after a fork.
    """
    if not sys.modules.keys() & {"torch", "faiss", "sklearn"}:
        return True
    from threadpoolctl import ThreadpoolController

    ended = True
    for found in ThreadpoolController().select(prefix="libgomp").lib_controllers:
        pause = getattr(ctypes.CDLL(found.filepath), "omp_pause_resource_all", None)  # missing before GCC 9
        ended = pause is not None and pause(_SOFT) == 0 and ended
    return ended


def free_after_fork(thing: Freed) -> None:
    """Have `thing.free()` called in every forked process, as long as the thing is there."""
    _freed.add(thing)


_freed: WeakSet[Freed] = WeakSet()

if hasattr(os, "register_at_fork"):  # Windows cannot fork
    _fork = _Fork()
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.after_in_parent, after_in_child=_fork.after_in_child)
