"""`Locked` is an encoder that only one thread may use at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Locked:
    """An encoder with a lock. A copy has its own lock.

    The lock is needed because fast tokenizers refuse to be used from two threads at once.
    """

    _lock: Any = field(default_factory=Lock, repr=False, init=False)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())
