"""`AskEach`: rows of a batch asked side by side, each within its time, and no longer than somebody answers.

One call of `batch` tells nothing before its end. So where a deadline, a breaker or a budget is set, a batch goes row by
row: what is done is kept when time is up, and a model that is down, or too dear, is not asked about the rest.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budgeted_row import BudgetedRow
from dsplus_chains.running.flow import MOST, Configs, Outcome, Request
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.stale_loops import is_stale
from dsplus_chains.schema import BudgetError

LOOK = 0.02
"""Seconds after which a row that waits for its budget looks again."""

_AGAIN = 3
"""As often a row is asked about again whose budget was held by others."""


@dataclass(frozen=True, slots=True)
class AskEach(Request):
    """A batch of another Runnable, row by row; fulfilled by an `Outcome`.

    A row that takes longer than `timeout` is a TimeoutError, and so is one that is not done at the `deadline`. Under
    async it is cancelled. Else its thread is left to itself, and ends with the process.

    Args:
        run: Any Runnable.
        inputs: One a row.
        configs: One a row; `max_concurrency` bounds how many rows are under way at once.
        kwargs: What the Runnable is called with.
        timeout: How many seconds one row may take; None: any.
        deadline: How many seconds all rows together may take; None: any.
        breaker: What stops asking a model that keeps failing; None: nothing does.
        budgeted: One a row, under a budget; None where nothing limits what a row costs.
    """

    run: Runnable[Any, Any]
    inputs: list[Any]
    configs: Configs
    kwargs: dict[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    deadline: float | None = None
    breaker: CircuitBreaker | None = None
    budgeted: Sequence[BudgetedRow | None] = ()

    @override
    def call(self) -> Outcome:
        rows, done = _Rows(self), SimpleQueue[tuple[int, Any]]()

        def ask(row: int) -> None:
            try:
                output = self.run.invoke(self.inputs[row], self.configs[row], **self.kwargs)
            except BaseException as error:  # the waiting side raises what is no Exception
                output = error
            try:
                if (budgeted := self.budgeted_row(row)) is not None:
                    budgeted.end()
            except Exception as error:  # somebody waits for the row, whatever happens
                output = error
            done.put((row, output))

        try:
            while rows.are_open:
                for row in rows.begin():
                    # A pool's threads are waited for when the process ends; a hung one must not keep it.
                    threading.Thread(target=copy_context().run, args=(ask, row), daemon=True).start()
                if rows.running:
                    try:
                        rows.take(*done.get(timeout=rows.patience))
                    except Empty:
                        rows.expire()
                elif rows.are_open:
                    sleep(LOOK)
        finally:
            rows.abandon()
        return rows.outcome()

    @override
    async def acall(self) -> Outcome:
        rows = _Rows(self)
        tasks: dict[asyncio.Task[Any], int] = {}
        try:
            while rows.are_open:
                begun = await run_in_executor(None, rows.begin) if any(self.budgeted) else rows.begin()
                for row in begun:
                    tasks[asyncio.create_task(self._row(row))] = row
                if rows.running:
                    ended, _ = await asyncio.wait(tasks, timeout=rows.patience, return_when=asyncio.FIRST_COMPLETED)
                    for task in [task for task in tasks if task in ended]:
                        rows.take(tasks.pop(task), asyncio.CancelledError() if task.cancelled() else _result(task))
                    rows.expire()
                    for task in [task for task, row in tasks.items() if row not in rows.running]:
                        tasks.pop(task)
                        task.add_done_callback(_forget)
                        task.cancel()
                elif rows.are_open:
                    await asyncio.sleep(LOOK)
        finally:
            for task in tasks:
                task.cancel()
            rows.abandon()
            await asyncio.gather(*tasks, return_exceptions=True)
            if any(self.budgeted):
                await asyncio.shield(run_in_executor(None, self._abandon))
        return rows.outcome()

    async def _row(self, row: int) -> Any:
        try:
            for _ in range(MOST):
                try:
                    return await self.run.ainvoke(self.inputs[row], self.configs[row], **self.kwargs)
                except Exception as error:  # a provider's client may have wrapped it
                    if not is_stale(error):
                        raise
            return await self.run.ainvoke(self.inputs[row], self.configs[row], **self.kwargs)
        finally:
            if (budgeted := self.budgeted_row(row)) is not None:
                await asyncio.shield(run_in_executor(None, budgeted.end))

    def _abandon(self) -> None:
        """End the rows that nobody has ended, since they were cancelled at their very beginning."""
        for budgeted in filter(None, self.budgeted):
            budgeted.abandon()

    def budgeted_row(self, row: int) -> BudgetedRow | None:
        """A row under its budget, if it has one."""
        return self.budgeted[row] if self.budgeted else None


@dataclass(frozen=True, slots=True)
class Admit(Request):
    """The beginning of one row under a budget, once there is room for it. Its result is None.

    Args:
        row: The row.
        until: The point of `time.monotonic` until which it waits; None: any.

    Raises:
        BudgetError: Nothing is left.
        TimeoutError: There was no room in time.
    """

    row: BudgetedRow
    until: float | None = None

    @override
    def call(self) -> None:
        while not self.row.begin():
            self._check()
            sleep(LOOK)

    @override
    async def acall(self) -> None:
        while not (self.row.should_look and await run_in_executor(None, self.row.begin)):
            self._check()
            await asyncio.sleep(LOOK)

    def _check(self) -> None:
        if self.until is not None and monotonic() >= self.until:
            msg = "the budget had no room in time"
            raise TimeoutError(msg)


class _Rows:
    """Which rows are waiting, under way and done."""

    def __init__(self, ask: AskEach) -> None:
        self._ask = ask
        self._started = monotonic()
        self._waiting = deque(range(len(ask.inputs)))
        self._outputs: list[Any] = [None] * len(ask.inputs)
        config: RunnableConfig = ask.configs[0] if ask.configs else {}
        self._most = config.get("max_concurrency") or MOST
        self._again = [0] * len(ask.inputs)
        self._gone = False
        self.running: dict[int, float] = {}
        """When each row that is under way was begun."""

    @property
    def are_open(self) -> bool:
        """Whether any row has no output yet."""
        return bool(self._waiting or self.running)

    @property
    def patience(self) -> float | None:
        """How many seconds to wait until the next row has taken too long, or may be begun; None: any."""
        now = monotonic()
        ends = [end for began in self.running.values() if (end := self._end(began)) is not None]
        if self._waiting and any(self._ask.budgeted):
            ends.append(now + LOOK)
        return max(0.0, min(ends) - now) if ends else None

    def begin(self) -> list[int]:
        """The rows to begin now; those that need not be asked about have their error."""
        begun = []
        breaker = self._ask.breaker
        while self._waiting and not self._gone:
            if breaker is not None and len(self.running) >= min(self._most, breaker.window):
                break
            if len(self.running) >= self._most:
                break
            row, now = self._waiting.popleft(), monotonic()
            if self._ask.deadline is not None and now >= self._started + self._ask.deadline:
                self._outputs[row] = TimeoutError(f"not asked within the {self._ask.deadline:g} s of its batch")
            elif (admitted := self._admitted(row)) is None:
                self._waiting.appendleft(row)
                break
            elif isinstance(admitted, BudgetError):
                self._outputs[row] = admitted
            elif breaker is not None and (refusal := breaker.refusal()) is not None:
                self._outputs[row] = refusal
                if (budgeted := self._ask.budgeted_row(row)) is not None:
                    budgeted.end()
            else:
                self.running[row] = now
                begun.append(row)
        if self._gone:  # meanwhile, in another thread
            self.abandon()
        return begun

    def _admitted(self, row: int) -> bool | BudgetError | None:
        """Whether a row's budget lets it begin. None: it has to wait."""
        budgeted = self._ask.budgeted_row(row)
        try:
            return True if budgeted is None else budgeted.begin() or None
        except BudgetError as error:
            return error

    def take(self, row: int, output: Any) -> None:
        """Take what came of a row, unless it has come too late, or its budget was held by others."""
        if self.running.pop(row, None) is None:
            return
        budgeted = self._ask.budgeted_row(row)
        refused = budgeted.refused if budgeted is not None and isinstance(output, Exception) else None
        if self._ask.breaker is not None:  # whatever the arm has made of a refusal
            self._ask.breaker.heard(refused or output if isinstance(output, BaseException) else None)
        raise_interrupts([output])
        if isinstance(refused, BudgetError) and refused.busy and self._again[row] < _AGAIN:
            self._again[row] += 1
            self._waiting.append(row)
            return
        self._outputs[row] = output

    def expire(self) -> None:
        """Give up the rows that have taken too long."""
        now = monotonic()
        for row, began in list(self.running.items()):
            end = self._end(began)
            if end is not None and now >= end:
                timeout, deadline = self._ask.timeout, self._ask.deadline
                own = timeout is not None and now >= began + timeout
                text = f"no answer in {timeout:g} s" if own else f"no answer within the {deadline:g} s of its batch"
                self.take(row, TimeoutError(text))

    def abandon(self) -> None:
        """Nobody waits for the rows that are under way."""
        self._gone = True
        if self.running and self._ask.breaker is not None:
            self._ask.breaker.abandon()

    def outcome(self) -> Outcome:
        """What all rows came to."""
        return Outcome(self._outputs, monotonic() - self._started)

    def _end(self, began: float) -> float | None:
        """When a row has taken too long."""
        limits = ((began, self._ask.timeout), (self._started, self._ask.deadline))
        return min((start + seconds for start, seconds in limits if seconds is not None), default=None)


def _forget(task: asyncio.Task[Any]) -> None:
    """Nobody waits for a task any more: its late error is no news."""
    if not task.cancelled():
        task.exception()


def _result(task: asyncio.Task[Any]) -> Any:
    error = task.exception()
    return task.result() if error is None else error
