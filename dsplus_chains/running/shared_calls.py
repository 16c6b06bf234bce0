"""`SharedCalls` makes one call of a function for callers that come while an earlier call is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from typing_extensions import override

from dsplus_chains.running.flow import wrong_size
from dsplus_chains.running.forking import free_after_fork


class _Waiting(NamedTuple):
    """The items of one caller, and what it waits for."""

    items: list[Any]
    future: Future[list[Any]]


class SharedCalls:
    """A function over a list of items, whose callers share calls.

    The function runs in a thread of its own, one call at a time. Whoever comes meanwhile is in the next call. So nobody
    waits for others to come. Callers may be threads, and tasks of any event loop. One that is cancelled before its call
    begins is not in it. A call that fails is made again for each half of its callers, so that one caller's error is
    raised to that caller alone.

    Args:
        function: The function from items to as many results.
        size: Most items in a call of several callers. A caller with more items has a call of its own.

    Example:
        >>> shared = SharedCalls(lambda texts: [text.upper() for text in texts], size=64)
        >>> shared.join(["a", "b"]).result()
        ['A', 'B']
    """

    def __init__(self, function: Callable[[list[Any]], list[Any]], size: int) -> None:
        self._function = function
        self._size = size
        self.free()
        free_after_fork(self)

    def free(self) -> None:
        """Forget who waits. In a forked process they are not there, and neither is the thread."""
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, "dsplus-shared")

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return SharedCalls, (self._function, self._size)

    def join(self, items: list[Any]) -> Future[list[Any]]:
        """What will hold the results for the items, or what the function raised for them.

        It is a `BatchSizeError` if the function returned more or fewer results.
        """
        caller = _Waiting(items, Future())
        self._waiting.append(caller)
        try:
            self._thread.submit(self._serve)  # once for each caller, so that none is forgotten
        except RuntimeError:  # the process ends, and no thread is begun any more
            with suppress(ValueError):  # the thread still has it
                self._waiting.remove(caller)
                self._answer([caller])
        return caller.future

    def _serve(self) -> None:
        """Make one call for those who wait, as many as there is room for."""
        callers, room = list[_Waiting](), self._size
        while self._waiting and (not callers or len(self._waiting[0].items) <= room):
            caller = self._waiting.popleft()
            if caller.future.set_running_or_notify_cancel():
                callers.append(caller)
                room -= len(caller.items)
        if callers:
            self._answer(callers)

    def _answer(self, callers: list[_Waiting]) -> None:
        items = [item for caller in callers for item in caller.items]
        try:
            results = self._function(items)
            if len(results) != len(items):
                raise wrong_size(len(items), len(results))
        except BaseException as error:  # whoever waits raises it
            if len(callers) == 1:
                callers[0].future.set_exception(error)
                return
            half = len(callers) // 2
            self._answer(callers[:half])
            self._answer(callers[half:])
            return
        start = 0
        for caller in callers:
            end = start + len(caller.items)
            caller.future.set_result(results[start:end])
            start = end
