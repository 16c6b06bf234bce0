"""`WholeArm`: a batch stays one batch, and a circuit breaker refuses it as a whole."""

from __future__ import annotations

import pytest
from fakes import Recording

from dsplus_chains.running.breaker import CircuitBreaker, CircuitOpenError
from dsplus_chains.running.whole_arm import WholeArm


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def down(row):
    return ConnectionError("down")


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_an_outage_opens_the_breaker_and_one_batch_in_each_cooldown_is_asked(way):
    clock = Clock()
    breaker, model = CircuitBreaker(clock=clock), Recording(down)
    arm = WholeArm(run=model, breaker=breaker)

    async def ask():
        rows = list(range(8))
        if way == "batch":
            return arm.batch(rows, return_exceptions=True)
        return await arm.abatch(rows, return_exceptions=True)

    assert {type(one) for one in await ask()} == {ConnectionError}
    assert {type(one) for one in await ask()} == {CircuitOpenError}
    assert model.sizes == [8]
    clock.now = 30.0
    await ask()
    await ask()
    assert model.sizes == [8, 8]
    model.function, clock.now = str, 60.0
    assert await ask() == await ask() == list("01234567")


def test_a_batch_of_which_any_row_was_answered_shows_that_the_model_is_there():
    breaker = CircuitBreaker()
    model = Recording(lambda row: "yes" if row == 0 else down(row))
    arm = WholeArm(run=model, breaker=breaker)
    for _ in range(3):
        arm.batch(list(range(20)), return_exceptions=True)
    assert model.sizes == [20, 20, 20]
    assert breaker.refusal() is None


def test_a_batch_that_is_interrupted_leaves_the_probe_to_the_next_one():
    clock = Clock()
    model = Recording(down)
    arm = WholeArm(run=model, breaker=CircuitBreaker(clock=clock))
    arm.batch(list(range(8)), return_exceptions=True)

    def interrupted(_):
        raise KeyboardInterrupt

    model.function, clock.now = interrupted, 30.0
    with pytest.raises(KeyboardInterrupt):
        arm.batch([1, 2])
    model.function = str
    assert arm.batch([1, 2]) == ["1", "2"]


def test_a_job_is_asked_for_though_the_breaker_is_open():
    model = Recording(down)
    arm = WholeArm(run=model, breaker=CircuitBreaker(), refuses=False)
    for _ in range(2):
        arm.batch(list(range(8)), return_exceptions=True)
    assert model.sizes == [8, 8]
