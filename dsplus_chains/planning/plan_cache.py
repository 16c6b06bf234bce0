"""`PlanCache`: the plans of a process, by the shape of their requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.stores import BaseStore
from typing_extensions import override

from dsplus_chains.running.forking import ForkLock


class PlanCache(BaseStore[str, bytes]):
    """A LangChain store in memory that keeps the entries that were used last. Threads may share it.

    Args:
        size: How many entries it keeps.

    Raises:
        ValueError: `size` is less than one.

    Example:
        >>> cache = PlanCache(size=2)
        >>> cache.mset([("a", b"1"), ("b", b"2")])
        >>> cache.mget(["a"])
        [b'1']
        >>> cache.mset([("c", b"3")])
        >>> sorted(cache.yield_keys())
        ['a', 'c']
    """

    def __init__(self, size: int = 1000) -> None:
        if size < 1:
            msg = f"Got size={size} but expected at least 1 plan to keep"
            raise ValueError(msg)
        self._size = size
        self._kept: dict[str, bytes] = {}
        self._lock = ForkLock()

    @override
    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            found = {key: self._kept.pop(key) for key in dict.fromkeys(keys) if key in self._kept}
            self._kept.update(found)  # a used entry moves to the end; the first ones are dropped
        return [found.get(key) for key in keys]

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        with self._lock:
            for key, value in key_value_pairs:
                self._kept.pop(key, None)
                self._kept[key] = value
            for key in list(self._kept)[: -self._size]:
                del self._kept[key]

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._kept.pop(key, None)

    @override
    def yield_keys(self, prefix: str | None = None) -> Iterator[str]:
        with self._lock:
            kept = list(self._kept)
        yield from (key for key in kept if key.startswith(prefix or ""))

    def __getstate__(self) -> dict[str, Any]:
        """Everything, as it is at one moment."""
        with self._lock:
            return {**self.__dict__, "_kept": dict(self._kept)}
