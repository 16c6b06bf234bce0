"""Batches on their way through two stages: one at a time through the first, many side by side through the second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
Done = TypeVar("Done")


class Pipeline(Generic[Batch, Done]):
    """Begins a batch as soon as there is room for it. What is done comes out at once, whatever its place.

    Example:
        >>> sorted(Pipeline().run(["a", "b", "c"], second=str.upper, has_room=lambda under_way: under_way < 2))
        ['A', 'B', 'C']
    """

    def __init__(self) -> None:
        self._news = SimpleQueue[Future[Done] | None]()
        self._under_way = 0

    def tell(self) -> None:
        """Say that there may be room."""
        self._news.put(None)

    def run(
        self, batches: Iterable[Batch], *, second: Callable[[Batch], Done], has_room: Callable[[int], bool]
    ) -> Iterator[Done]:
        """What the second stage makes of each batch, in the order in which they are done.

        Args:
            batches: What the first stage yields. The next one is asked for when there is room.
            second: The second stage, which runs in a thread for each batch.
            has_room: A function that gets the number of batches under way, and says whether there may be one more.

        Raises:
            BaseException: What a stage raises. The other batches are then left to themselves.
        """
        for batch in batches:
            # A pool's threads are waited for when the process ends; a hung one must not keep it.
            threading.Thread(target=copy_context().run, args=(self._work, second, batch), daemon=True).start()
            self._under_way += 1
            while self._under_way and not (has_room(self._under_way) and self._news.empty()):
                yield from self._next()
        while self._under_way:
            yield from self._next()

    def _next(self) -> Iterator[Done]:
        """The next batch that is done, or nothing if there is other news."""
        news = self._news.get()
        if news is not None:
            self._under_way -= 1
            yield news.result()

    def _work(self, second: Callable[[Batch], Done], batch: Batch) -> None:
        future = Future[Done]()
        try:
            future.set_result(second(batch))
        except BaseException as error:  # whoever waits raises it
            future.set_exception(error)
        self._news.put(future)
