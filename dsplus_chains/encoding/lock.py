"""`Locked`: what one thread at a time may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Locked:
    """An encoder with a lock, since fast tokenizers refuse to be used from two threads at once; a copy has its own."""

    _lock: Any = field(default_factory=Lock, repr=False, init=False)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())
