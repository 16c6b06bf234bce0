from __future__ import annotations

import threading
from asyncio import CancelledError
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from langchain_core.runnables import RunnableLambda

from dsplus_chains.corpus.shared_arm import SharedArm
from dsplus_chains.corpus.two_stages import Pipeline
from dsplus_chains.running import each
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.limits import Limits

PATIENT = Limits(breaker=None)


class Doors:
    """Lets each row through once its door is opened. It notes who came, and how many were inside at once."""

    def __init__(self, *names):
        self.doors = {name: threading.Event() for name in names}
        self.came = SimpleQueue()
        self.order = []

    def __call__(self, name):
        self.order.append(name)
        self.came.put(name)
        assert self.doors[name].wait(60)
        return name.upper()

    def open(self, *names):
        for name in names:
            self.doors[name].set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


def test_batches_share_one_window_in_their_order_and_none_waits_for_the_end_of_another(pool):
    doors = Doors(*"abcd")
    arm = SharedArm(RunnableLambda(doors), limits=PATIENT, concurrency=2)
    first = pool.submit(arm.batch, ["a", "b", "c"])
    assert {doors.came.get(timeout=60), doors.came.get(timeout=60)} == {"a", "b"}
    second = pool.submit(arm.batch, ["d"])
    doors.open("b", "c", "d")
    assert second.result(60) == ["D"]
    assert not first.done()
    assert doors.order[2:] == ["c", "d"]
    doors.open("a")
    assert first.result(60) == ["A", "B", "C"]


def test_a_rows_time_begins_when_it_is_asked_about(pool, monkeypatch):
    doors, now = Doors("a", "b"), [0.0]
    monkeypatch.setattr(each, "monotonic", lambda: now[0])
    arm = SharedArm(RunnableLambda(doors), limits=Limits(timeout=0.1, breaker=None), concurrency=1)
    asked = pool.submit(arm.batch, ["a", "b"], return_exceptions=True)
    assert doors.came.get(timeout=60) == "a"
    now[0] = 100.0
    assert doors.came.get(timeout=60) == "b"  # its time stands still
    doors.open("a", "b")
    late, answer = asked.result(60)
    assert isinstance(late, TimeoutError)
    assert answer == "B"


def test_a_row_waits_while_another_that_asks_the_same_is_under_way(pool):
    doors = Doors("a", "b")
    known = {}

    def cached(name):
        return known.get(name) or known.setdefault(name, doors(name))

    arm = SharedArm(RunnableLambda(cached), limits=PATIENT, concurrency=8)
    first, second = pool.submit(arm.batch, ["a", "b"]), pool.submit(arm.batch, ["a", "a"])
    assert {doors.came.get(timeout=60), doors.came.get(timeout=60)} == {"a", "b"}
    doors.open("a")
    assert second.result(60) == ["A", "A"]
    assert doors.order.count("a") == 1
    doors.open("b")
    assert first.result(60) == ["A", "B"]


def test_rows_that_wait_for_another_take_room_and_end_with_the_arm(pool):
    doors = Doors("a")
    arm = SharedArm(RunnableLambda(doors), limits=PATIENT, concurrency=2)
    batches = [pool.submit(arm.batch, ["a", "a"], return_exceptions=True) for _ in range(2)]
    assert doors.came.get(timeout=60) == "a"
    while arm.has_room(0):
        pass
    arm.close()
    doors.open("a")
    for batch in batches:
        with pytest.raises(CancelledError):
            batch.result(60)
    assert doors.order == ["a"]


def test_a_failed_row_fails_alone_and_an_interrupt_is_raised():
    def fail(error):
        raise error

    arm = SharedArm(RunnableLambda(fail), limits=PATIENT)
    errors = [ValueError("a"), KeyError("b")]
    assert arm.batch(errors, return_exceptions=True) == errors
    for _ in range(50):  # of several errors, the first row's is raised, whichever came first
        with pytest.raises(ValueError, match="a"):
            arm.batch(errors)
    with pytest.raises(KeyError):
        arm.invoke(errors[1])
    with pytest.raises(KeyboardInterrupt):
        arm.batch([KeyboardInterrupt()], return_exceptions=True)
    assert arm.batch([]) == []


def test_a_breaker_keeps_the_window_small_over_all_batches(pool):
    breaker = CircuitBreaker()
    doors = Doors(*map(str, range(60)))
    arm = SharedArm(RunnableLambda(doors), limits=Limits(breaker=breaker), concurrency=50)
    batches = [pool.submit(arm.batch, [str(number) for number in range(start, start + 20)]) for start in (0, 20, 40)]
    for _ in range(breaker.window):
        doors.came.get(timeout=60)
    assert len(doors.order) == breaker.window == 16
    doors.open(*doors.doors)
    assert [output for batch in batches for output in batch.result(60)] == [str(number) for number in range(60)]


def test_who_waits_when_it_is_closed_is_cancelled_and_nobody_is_asked_any_more(pool):
    doors = Doors("a", "b")
    arm = SharedArm(RunnableLambda(doors), limits=PATIENT, concurrency=1)
    waiting = pool.submit(arm.batch, ["a", "b"], return_exceptions=True)
    assert doors.came.get(timeout=60) == "a"
    arm.close()
    doors.open("a")
    with pytest.raises(CancelledError):
        waiting.result(60)
    with pytest.raises(CancelledError):
        arm.invoke("b")
    assert doors.order == ["a"]


def test_there_is_room_for_rows_to_ask_about_next_but_never_for_many():
    arm = SharedArm(RunnableLambda(str), limits=PATIENT, concurrency=1)
    assert [arm.has_room(under_way) for under_way in range(4)] == [True, True, False, False]


def test_a_pipeline_begins_what_there_is_room_for_and_yields_what_is_done():
    doors, begun = Doors(*"abcd"), []

    def first():
        for name in "abcd":
            begun.append(name)
            yield name

    done = Pipeline().run(first(), second=doors, has_room=lambda under_way: under_way < 2)
    doors.open("b")
    assert next(done) == "B"
    assert begun == ["a", "b"]
    doors.open("c")
    assert next(done) == "C"
    assert begun == ["a", "b", "c"]
    doors.open("a", "d")
    assert sorted(done) == ["A", "D"]


def test_what_a_stage_raises_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        list(Pipeline().run(["1", "x"], second=int, has_room=lambda under_way: under_way < 2))

    def first():
        yield "1"
        raise KeyError

    with pytest.raises(KeyError):
        list(Pipeline().run(first(), second=int, has_room=lambda under_way: under_way < 2))
