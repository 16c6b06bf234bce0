"""What ends a call from outside says nothing of the small model, and is no error of a row."""

from __future__ import annotations

import asyncio

import pytest

from dsplus_chains import Prediction, RunnableScorer
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.scoring import BaseScorer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Small(BaseScorer):
    """A small model that does what it is told."""

    says: list

    def _predict(self, texts):
        say = self.says[-1]
        if isinstance(say, BaseException):
            raise say
        return [Prediction(label="ham", confidence=0.9) for _ in texts]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()])
def test_a_probe_that_is_interrupted_does_not_switch_the_small_model_off(interrupt):
    small, clock = Small(says=[RuntimeError("down")], on_error="defer"), Clock()
    small._breaker = CircuitBreaker(failures=2, cooldown=30, clock=clock)
    for _ in range(4):
        assert small.invoke("x")["prediction"].label is None
    small.says.append(interrupt)
    assert small.invoke("x")["prediction"].label is None, "it is not asked"
    clock.now = 30
    with pytest.raises(type(interrupt)) as raised:
        small.invoke("x")  # the probe
    assert raised.value is interrupt
    small.says.append("well again")
    assert small.invoke("x")["prediction"].label == "ham"


@pytest.mark.parametrize("n", [1, 2])
def test_a_graphs_interrupt_is_raised_and_not_deferred(n):
    errors = pytest.importorskip("langgraph.errors")

    def waits(_text):
        raise errors.GraphInterrupt(())

    asking, own = RunnableScorer(run=waits, on_error="defer"), Small(says=[errors.GraphInterrupt(())], on_error="defer")
    for scorer in (asking, own):
        with pytest.raises(errors.GraphInterrupt):
            scorer.batch(["x"] * n)
