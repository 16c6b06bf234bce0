"""`SharedArm` asks a large model about the rows of several batches, so that none waits for the end of another."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from typing_extensions import override

from dsplus_chains.running.each import AskEach
from dsplus_chains.running.flow import MOST
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.limits import Limits
from dsplus_chains.schema import identity_of

MOST_ELSEWHERE = 2
"""As many batches may be under way that ask about nothing, so that one of them is worked on and one is ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One row that is to be asked about.

    Args:
        row: Its place in its batch.
        ask: The request.
        question: What is asked. Another row that asks the same waits for this one.
        context: The context variables of whoever asks.
        done: What gets the row and its output.
    """

    row: int
    ask: AskEach
    question: Hashable
    context: Context
    done: SimpleQueue[tuple[int, Any]]


class SharedArm(Runnable[Any, Any]):
    """An arm whose batches, from several threads, share one window of requests. Rows are begun in the order they came.

    A row's time begins when it is asked about, and not while it waits for its turn. It waits too while another row that
    asks the same is under way. By then a cache of the model knows the answer.

    Args:
        run: The arm itself.
        limits: How long and how patiently it is asked. Of these, the time of a row and the breaker count here.
        concurrency: Most requests at the same time. None: 100.
        tell: A function that is called when `has_room` may have changed.
    """

    def __init__(
        self,
        run: Runnable[Any, Any],
        *,
        limits: Limits,
        concurrency: int | None = None,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self._arm = run
        self._limits = limits
        self._most = concurrency or MOST
        self._tell = tell
        self._lock = ForkLock()
        self._waiting: deque[_Job] = deque()
        self._running = set[Hashable]()
        self._alike = defaultdict[Hashable, list[_Job]](list)
        self._batches = 0
        self._closed = False

    def has_room(self, under_way: int) -> bool:
        """Whether another batch may come. There are always rows to ask about next, but never many.

        Args:
            under_way: Number of batches under way, those included that have not come here yet.
        """
        with self._lock:
            open_rows = len(self._waiting) + len(self._running) + sum(map(len, self._alike.values()))
            return open_rows < 2 * self._most and under_way - self._batches < MOST_ELSEWHERE

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self.batch([input], config, **kwargs)[0]

    @override
    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        done = SimpleQueue[tuple[int, Any]]()
        configs = get_config_list(config, len(inputs))
        asks = [self._request(value, one, kwargs) for value, one in zip(inputs, configs, strict=True)]
        jobs = [
            _Job(row=row, ask=ask, question=identity_of(value), context=copy_context(), done=done)
            for row, (ask, value) in enumerate(zip(asks, inputs, strict=True))
        ]
        with self._lock:
            self._waiting.extend(jobs)
            self._batches += 1
        self._begin()
        self._tell()
        outputs = dict(done.get() for _ in inputs)
        with self._lock:
            self._batches -= 1
        results = [outputs[row] for row in range(len(inputs))]
        raise_interrupts(results)
        for result in () if return_exceptions else results:
            if isinstance(result, Exception):
                raise result
        return results

    def close(self) -> None:
        """Ask about nothing more. Whoever waits for a row gets a cancellation."""
        with self._lock:
            self._closed = True
        self._begin()

    def _request(self, value: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> AskEach:
        timeout, breaker = self._limits.timeout, self._limits.breaker
        return AskEach(self._arm, [value], [config], dict(kwargs), timeout=timeout, breaker=breaker)

    def _begin(self) -> None:
        """Begin the rows for which there is room. A breaker makes the window small while nothing is known."""
        breaker = self._limits.breaker
        with self._lock:
            while self._closed and self._waiting:
                job = self._waiting.popleft()
                job.done.put((job.row, CancelledError()))
            most = self._most if breaker is None else min(self._most, breaker.window)
            while self._waiting and len(self._running) < most:
                job = self._waiting.popleft()
                if job.question in self._running:
                    self._alike[job.question].append(job)
                    continue
                self._running.add(job.question)
                # A pool's threads are waited for when the process ends; a hung one must not keep it.
                threading.Thread(target=job.context.run, args=(self._ask, job), daemon=True).start()

    def _ask(self, job: _Job) -> None:
        try:
            (output,) = job.ask.call().outputs
        except BaseException as error:  # the waiting side raises what is no Exception
            output = error
        with self._lock:
            self._running.remove(job.question)
            self._waiting.extendleft(reversed(self._alike.pop(job.question, [])))
        job.done.put((job.row, output))
        self._begin()
        self._tell()
