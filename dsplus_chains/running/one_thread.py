"""One thread of BLAS, for searches whose steps are small."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

from threadpoolctl import threadpool_limits

from dsplus_chains.running.forking import ForkLock


class _OneThreadOfBlas(ContextDecorator):
    """Limits BLAS to one thread, and restores what was before all searches that overlap.

    BLAS has one setting for the whole process, and threadpoolctl lets only one thread change it. So whoever ends first
    may lift the limit for the others, which costs time alone.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._inside = 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            limits = threadpool_limits(1, "blas")
            self._before = self._before if self._inside else limits
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._before.restore_original_limits()


one_thread_of_blas = _OneThreadOfBlas()
"""A block or a function in which BLAS has one thread. On a busy machine, several would mostly wait for each other."""
