"""What ends a call from outside says nothing of the small model, and is no error of a row."""

from __future__ import annotations

import asyncio

import pytest

from dsplus_chains import Prediction, RunnableScorer
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.scoring import BaseScorer


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
    small = Small(says=[RuntimeError("down")], on_error="defer")
    small._breaker = CircuitBreaker(failures=2, cooldown=0.001)
    for _ in range(4):
        assert small.invoke("x")["prediction"].label is None
    small.says.append(interrupt)
    with pytest.raises(type(interrupt)) as raised:
        [small.invoke("x") for _ in range(20)]  # one of them is the probe
    assert raised.value is interrupt
    small.says.append("well again")
    answers = [small.invoke("x")["prediction"].label for _ in range(20) if not asyncio.run(asyncio.sleep(0.002))]
    assert answers[-1] == "ham"


@pytest.mark.parametrize("n", [1, 2])
def test_a_graphs_interrupt_is_raised_and_not_deferred(n):
    errors = pytest.importorskip("langgraph.errors")

    def waits(_text):
        raise errors.GraphInterrupt(())

    asking, own = RunnableScorer(run=waits, on_error="defer"), Small(says=[errors.GraphInterrupt(())], on_error="defer")
    for scorer in (asking, own):
        with pytest.raises(errors.GraphInterrupt):
            scorer.batch(["x"] * n)
