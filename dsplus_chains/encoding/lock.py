"""`Locked` is an encoder that only one thread may use at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsplus_chains.running.forking import ForkLock


@dataclass(frozen=True, kw_only=True, eq=False)
class Locked:
    """An encoder with a lock.

    The lock is needed because fast tokenizers refuse to be used from two threads at once.
    """

    _lock: ForkLock = field(default_factory=ForkLock, repr=False, init=False)
