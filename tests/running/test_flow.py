"""One flow a Runnable: what its two drivers do with what it wants."""

from __future__ import annotations

import asyncio
import threading

import pytest
from clock import PATIENCE, auntil
from fakes import Recording
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from dsplus_chains.running.drivers import adrive, adrive_stream, drive, drive_stream
from dsplus_chains.running.flow import (
    END,
    Ask,
    BatchSizeError,
    Begin,
    Chunk,
    Completed,
    Next,
    Open,
    Work,
    raise_interrupts,
)


async def both(flow):
    """What both drivers make of a flow; they have to agree."""
    called, awaited = drive(flow()), await adrive(flow())
    assert called == awaited
    return called


def ask(function, *inputs):
    return Ask(Recording(function), list(inputs), [{} for _ in inputs])


async def test_a_flow_gets_back_what_it_asked_for():
    def flow():
        doubled = yield ask(lambda value: 2 * value, 1, 2)
        total = yield Work(sum, (doubled.outputs,))
        return [total]

    assert await both(flow) == [6]


async def test_a_row_that_fails_is_an_output_and_a_batch_that_fails_is_one_in_each_row():
    class Down(Recording):
        def batch(self, *args, **kwargs):
            raise ConnectionError("down")

        async def abatch(self, *args, **kwargs):
            raise ConnectionError("down")

    def flow():
        one = yield ask(lambda value: 1 / value, 1, 0)
        all_ = yield Ask(Down(None), [1, 2], [{}, {}])
        return [*map(repr, one.outputs), *map(repr, all_.outputs)]

    assert await both(flow) == [
        "1.0",
        "ZeroDivisionError('division by zero')",
        "ConnectionError('down')",
        "ConnectionError('down')",
    ]


async def test_no_call_is_made_without_a_row():
    never = Recording(None)

    def flow():
        return (yield Ask(never, [], [])).outputs

    assert await both(flow) == []
    assert never.sizes == []


async def test_one_result_too_few_fails_every_row():
    class Short(Recording):
        def batch(self, *args, **kwargs):
            return super().batch(*args, **kwargs)[:-1]

        async def abatch(self, *args, **kwargs):
            return (await super().abatch(*args, **kwargs))[:-1]

    def flow():
        outputs = (yield Ask(Short(str), [1, 2], [{}, {}])).outputs
        assert all(isinstance(output, BatchSizeError) for output in outputs)
        return [str(output) for output in outputs]

    assert await both(flow) == ["got 2 inputs but returned 1 results"] * 2


async def test_an_error_of_work_is_thrown_into_the_flow_which_may_go_on():
    def flow():
        try:
            yield Work(int, ("no number",))
        except ValueError:
            return ["caught"]

    assert await both(flow) == ["caught"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_what_is_no_exception_is_raised_and_never_an_output(interrupt):
    class Swallowing(Recording):
        """Like LangChain's sequences, which hand back whatever was raised."""

        def batch(self, inputs, *args, **kwargs):
            return [interrupt] * len(inputs)

        async def abatch(self, inputs, *args, **kwargs):
            return [interrupt] * len(inputs)

    def flow():
        return (yield Ask(Swallowing(None), [1], [{}])).outputs

    with pytest.raises(type(interrupt)):
        drive(flow())
    with pytest.raises(type(interrupt)):
        await adrive(flow())
    with pytest.raises(type(interrupt)):
        raise_interrupts([1, ValueError(), interrupt])


async def test_what_is_begun_runs_side_by_side_and_comes_back_as_it_is_done():
    def flow():
        both_run, told = threading.Barrier(2, timeout=PATIENCE), threading.Event()

        def meet(is_slow):
            both_run.wait()
            return told.wait(PATIENCE) if is_slow else "quick"

        yield Begin("slow", Ask(RunnableLambda(meet), [True], [{}]))
        yield Begin("quick", Ask(RunnableLambda(meet), [False], [{}]))
        order = []
        while len(order) < 2:
            for key, outcome in (yield Completed()):
                order.append((key, outcome.outputs))
                told.set()
        return order

    assert await both(flow) == [("quick", ["quick"]), ("slow", [True])]


async def test_chunks_are_streamed_and_what_is_open_is_closed():
    closed = []

    def letters(words):
        try:
            for word in words:
                yield from word
        finally:
            closed.append("called")

    async def aletters(words):
        try:
            async for word in words:
                for letter in word:
                    yield letter
        finally:
            closed.append("awaited")

    def flow():
        pieces = yield Open(RunnableGenerator(letters, aletters), "abc", {})
        while (piece := (yield Next(pieces))) is not END:
            yield Chunk(piece)

    assert list(drive_stream(flow())) == ["a", "b", "c"]
    assert [chunk async for chunk in adrive_stream(flow())] == ["a", "b", "c"]
    assert drive(flow()) is None
    stream = drive_stream(flow())
    assert next(stream) == "a"
    stream.close()
    astream = adrive_stream(flow())
    assert await anext(astream) == "a"
    await astream.aclose()
    assert closed == ["called", "awaited", "called", "called", "awaited"]


async def test_tasks_that_nobody_waits_for_are_cancelled():
    begun, cancelled = [], []

    async def forever(value):
        begun.append(value)
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    def flow():
        yield Begin("a", Ask(RunnableLambda(lambda value: value, afunc=forever), [1], [{}]))
        yield Completed()

    driving = asyncio.create_task(adrive(flow()))
    await auntil(lambda: begun)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    assert cancelled == [1]
