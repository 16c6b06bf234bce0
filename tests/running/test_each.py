"""Rows asked side by side: each within its time, none longer than somebody answers."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from clock import PATIENCE, auntil, longer
from fakes import Gauge
from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import RunnableLambda

from dsplus_chains.running.breaker import CircuitBreaker, CircuitOpenError
from dsplus_chains.running.each import AskEach
from dsplus_chains.schema import BudgetError


def arm(function):
    """A Runnable over a function of the input that may wait; it waits natively in both ways."""

    def call(value):
        wait, result = function(value)
        time.sleep(wait)
        if isinstance(result, BaseException):
            raise result
        return result

    async def acall(value):
        wait, result = function(value)
        await asyncio.sleep(wait)
        if isinstance(result, BaseException):
            raise result
        return result

    return RunnableLambda(call, afunc=acall)


async def both(make):
    """What both drivers make of a request; they have to agree."""
    called, awaited = make().call(), await make().acall()
    assert [repr(one) for one in called.outputs] == [repr(one) for one in awaited.outputs]
    return called.outputs


def each(function, n, *, config=None, **limits):
    return lambda: AskEach(arm(function), list(range(n)), [config or {} for _ in range(n)], **limits)


async def test_outputs_keep_the_order_of_the_rows():
    assert await both(each(lambda n: (0.01 * (5 - n), 10 * n), 6)) == [0, 10, 20, 30, 40, 50]


async def test_no_rows_no_outputs():
    assert await both(each(lambda n: (0, n), 0)) == []


async def test_a_row_that_takes_too_long_has_failed_and_the_others_keep_their_answers():
    for one in longer(0.2):
        with one as seconds:
            outputs = await both(each(lambda n: (10 + seconds if n == 1 else 0, n), 3, timeout=seconds))
            assert [outputs[0], outputs[2]] == [0, 2]
            assert str(outputs[1]) == f"no answer in {seconds:g} s"
            assert isinstance(outputs[1], TimeoutError)


async def test_what_is_done_at_the_deadline_is_kept_and_the_rest_is_told():
    for one in longer(0.35):
        with one as seconds:
            limits = {"deadline": seconds, "config": {"max_concurrency": 2}}
            outputs = await both(each(lambda n: (10 + seconds if n > 1 else 0, n), 6, **limits))
            assert outputs[:2] == [0, 1]
            late, unasked = ({str(output) for output in part} for part in (outputs[2:4], outputs[4:]))
            assert late == {f"no answer within the {seconds:g} s of its batch"}
            assert unasked == {f"not asked within the {seconds:g} s of its batch"}
            assert {type(output) for output in outputs[2:]} == {TimeoutError}


async def test_an_error_of_a_row_is_its_output():
    outputs = await both(each(lambda n: (0, ValueError("odd") if n % 2 else n), 3))
    assert outputs[::2] == [0, 2]
    assert isinstance(outputs[1], ValueError)


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_rows_are_under_way_than_may_be(limit):
    """So many meet, and no more come meanwhile."""
    gauge = Gauge()
    met, amet = threading.Barrier(limit, timeout=PATIENCE), asyncio.Barrier(limit)

    def call(value):
        with gauge:
            met.wait()
            time.sleep(0.005)
        return value

    async def acall(value):
        with gauge:
            async with asyncio.timeout(PATIENCE):
                await amet.wait()
            await asyncio.sleep(0.005)
        return value

    def ask():
        return AskEach(RunnableLambda(call, afunc=acall), [*range(12)], [{"max_concurrency": limit}] * 12)

    assert await both(ask) == [*range(12)]
    assert gauge.most == limit


async def test_a_model_that_is_down_is_not_asked_about_the_rest():
    asked = []

    def down(n):
        asked.append(n)
        return 0, ConnectionError("down")

    for way in ("call", "acall"):
        asked.clear()
        request = each(down, 2000, breaker=CircuitBreaker(failures=5))()
        outputs = (request.call() if way == "call" else await request.acall()).outputs
        assert len(asked) <= 20
        assert {type(output) for output in outputs} == {ConnectionError, CircuitOpenError}
        assert "ConnectionError: down" in str(outputs[-1])
        assert isinstance(outputs[-1].__cause__, ConnectionError)


async def test_answers_that_are_no_labels_open_no_breaker():
    def unread(n):
        return 0, OutputParserException("no label")

    outputs = await both(each(unread, 50, breaker=CircuitBreaker(failures=2)))
    assert {type(output) for output in outputs} == {OutputParserException}


def probed():
    """A breaker that has opened, and lets a row through."""
    breaker = CircuitBreaker(failures=1, cooldown=0)
    breaker.heard(ConnectionError("down"))
    return breaker


async def test_an_interrupted_row_that_was_let_through_does_not_close_the_breaker_for_good():
    graph = pytest.importorskip("langgraph.errors")
    for way in ("call", "acall"):
        breaker = probed()
        request = each(lambda n: (0, graph.GraphInterrupt()), 1, breaker=breaker)()
        with pytest.raises(graph.GraphInterrupt):
            request.call() if way == "call" else await request.acall()
        assert breaker.refusal() is None


class Held:
    """A row whose budget is held by others at its first call."""

    refused = None

    def begin(self):
        return True

    def end(self):
        pass

    abandon = end


@pytest.mark.parametrize("hidden", [False, True], ids=["as it is", "made another error by the arm"])
async def test_a_row_that_was_let_through_and_refused_by_the_budget_is_let_through_again(hidden):
    for way in ("call", "acall"):
        row, asked = Held(), []

        def ask(n, row=row, asked=asked):
            asked.append(n)
            row.refused = BudgetError("not asked", busy=True) if len(asked) == 1 else None
            return 0, (RuntimeError("odd") if hidden else row.refused) if row.refused else n

        request = each(ask, 1, breaker=probed(), budgeted=[row])()
        outcome = request.call() if way == "call" else await request.acall()
        assert outcome.outputs == [0]
        assert asked == [0, 0]


def test_a_row_whose_end_fails_keeps_nobody_waiting():
    class Broken(Held):
        def end(self):
            raise ValueError

        def abandon(self):
            pass

    request = each(lambda n: (0, n), 1, breaker=probed(), budgeted=[Broken()])()
    assert isinstance(request.call().outputs[0], ValueError)


async def test_more_rows_go_at_once_the_more_have_been_answered():
    gauge = Gauge()

    async def acall(value):
        with gauge:
            await asyncio.sleep(0.01)
        return value

    request = AskEach(
        RunnableLambda(lambda value: value, afunc=acall), [*range(300)], [{}] * 300, breaker=CircuitBreaker()
    )
    assert len((await request.acall()).outputs) == 300
    assert 16 < gauge.most <= 100


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_row_is_raised(interrupt):
    with pytest.raises(interrupt):
        each(lambda n: (0, interrupt()), 2, timeout=PATIENCE)().call()


async def test_a_cancellation_cancels_every_row():
    begun, cancelled = [], []

    async def forever(value):
        begun.append(value)
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    run = RunnableLambda(lambda value: value, afunc=forever)
    asking = asyncio.create_task(AskEach(run, [1, 2, 3], [{}] * 3, timeout=2 * PATIENCE).acall())
    await auntil(lambda: len(begun) == 3)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(cancelled) == [1, 2, 3]


def test_a_thread_that_hangs_does_not_keep_the_process():
    before, over = set(threading.enumerate()), threading.Event()
    run = RunnableLambda(lambda value: over.wait(2 * PATIENCE))
    (output,) = AskEach(run, [1], [{}], timeout=0.05).call().outputs
    assert isinstance(output, TimeoutError)
    (hanging,) = set(threading.enumerate()) - before
    assert hanging.daemon
    over.set()
    hanging.join(PATIENCE)
    assert not hanging.is_alive()
