"""Calls that come together are one call, and yet each caller has its own results, and its own errors."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from clock import PATIENCE, auntil, until

from dsplus_chains.running.flow import BatchSizeError, Wait
from dsplus_chains.running.shared_calls import SharedCalls


def call(shared, items):
    """Call, as a flow's driver does."""
    return Wait(shared.join(items)).call()


async def acall(shared, items):
    return await Wait(shared.join(items)).acall()


def shout(texts):
    return [text.upper() for text in texts]


class Gated:
    """A function whose calls wait until they are let through. It raises what stands among its items."""

    def __init__(self):
        self.calls: list[list] = []
        self.begun, self.open = threading.Semaphore(0), threading.Event()

    def __call__(self, items):
        self.calls.append(list(items))
        self.begun.release()
        assert self.open.wait(PATIENCE)
        for item in items:
            if isinstance(item, BaseException):
                raise item
        return [(item, "done") for item in items]


@pytest.fixture
def gated():
    return Gated()


def begin(shared, gated, pool):
    """Begin a call that waits, so that all who come are in later ones."""
    first = pool.submit(call, shared, ["first"])
    assert gated.begun.acquire(timeout=PATIENCE)
    return first


def waiting(shared, n):
    """Wait until n callers wait for the next call."""
    until(lambda: len(shared._waiting) == n)


def test_threads_that_come_during_a_call_share_the_next_one(gated):
    shared = SharedCalls(gated, size=8)
    with ThreadPoolExecutor(10) as pool:
        first = begin(shared, gated, pool)
        later = [pool.submit(call, shared, [f"a{number}", f"b{number}"]) for number in range(5)]
        waiting(shared, 5)
        gated.open.set()
        assert first.result() == [("first", "done")]
        for number, future in enumerate(later):
            assert future.result() == [(f"a{number}", "done"), (f"b{number}", "done")]
    assert [len(items) for items in gated.calls] == [1, 8, 2]


def test_a_batch_that_is_larger_than_the_size_is_one_call(gated):
    gated.open.set()
    shared = SharedCalls(gated, size=2)
    assert len(call(shared, list(range(7)))) == 7
    assert [len(items) for items in gated.calls] == [7]


def test_tasks_of_several_event_loops_share_a_call_and_hold_no_thread(gated):
    shared = SharedCalls(gated, size=100)

    async def ask(loop):
        return await asyncio.gather(*(acall(shared, [f"{loop} {number}"]) for number in range(40)))

    results = {}
    loops = [threading.Thread(target=lambda name=name: results.update({name: asyncio.run(ask(name))})) for name in "ab"]
    with ThreadPoolExecutor(1) as pool:
        begin(shared, gated, pool)
        before = set(threading.enumerate())
        for loop in loops:
            loop.start()
        waiting(shared, 80)
        assert set(threading.enumerate()) - before == set(loops)
        gated.open.set()
        for loop in loops:
            loop.join()
    for name in "ab":
        assert results[name] == [[(f"{name} {number}", "done")] for number in range(40)]
    assert len(gated.calls) == 2
    asyncio.run(ask("another loop"))  # the first ones are closed


async def test_a_request_that_is_cancelled_leaves_the_batch(gated):
    shared = SharedCalls(gated, size=10)
    tasks = [asyncio.create_task(acall(shared, [0]))]
    await auntil(lambda: gated.calls)
    tasks += [asyncio.create_task(acall(shared, [number])) for number in range(1, 4)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # its call is under way: it goes on, and nobody gets its result
    tasks[2].cancel()
    await asyncio.sleep(0)
    gated.open.set()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert gated.calls == [[0], [1, 3]]
    assert [type(result) for result in told] == [asyncio.CancelledError, list, asyncio.CancelledError, list]
    assert told[3] == [(3, "done")]


INTERRUPTS = [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError()]


@pytest.mark.parametrize("error", [ValueError("bad text"), *INTERRUPTS])
def test_an_error_or_an_interrupt_is_raised_to_its_caller_alone(gated, error):
    shared = SharedCalls(gated, size=100)

    def ask(items):
        try:
            return call(shared, items)
        except BaseException as raised:
            return raised

    with ThreadPoolExecutor(12) as pool:
        first = begin(shared, gated, pool)
        later = [pool.submit(ask, [error if number == 4 else number]) for number in range(9)]
        waiting(shared, 9)
        gated.open.set()
        assert first.result() == [("first", "done")]
        for number, future in enumerate(later):
            assert future.result() is error if number == 4 else future.result() == [(number, "done")]
    assert len(gated.calls) < 12, "halves, not one by one"
    assert call(shared, ["after"]) == [("after", "done")]


def test_a_function_that_returns_too_few_is_an_error():
    with pytest.raises(BatchSizeError, match="got 2 inputs but returned 1 results"):
        call(SharedCalls(lambda items: items[1:], size=4), [1, 2])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda shared: pickle.loads(pickle.dumps(shared))])
def test_a_copy_has_a_thread_of_its_own(copied):
    shared = SharedCalls(shout, size=4)
    assert call(shared, ["a"]) == call(copied(shared), ["a"]) == ["A"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_works_while_its_parent_waits(gated):
    shared = SharedCalls(gated, size=4)
    with ThreadPoolExecutor(3) as pool:
        calls = [begin(shared, gated, pool), *(pool.submit(call, shared, ["later"]) for _ in range(2))]
        waiting(shared, 2)
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            gated.open.set()
            os._exit(0 if call(shared, ["child"]) == [("child", "done")] and gated.calls[-1] == ["child"] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        gated.open.set()
        assert [future.result(PATIENCE) for future in calls] == [
            [("first", "done")],
            [("later", "done")],
            [("later", "done")],
        ]


def test_where_no_thread_can_be_begun_any_more_the_caller_makes_the_call():
    """As when the process ends while a thread of the user's still labels."""
    shared = SharedCalls(shout, size=4)
    shared._thread.shutdown()
    assert call(shared, ["a", "b"]) == ["A", "B"]
    assert asyncio.run(acall(shared, ["c"])) == ["C"]
    assert not shared._waiting
