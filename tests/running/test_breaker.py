"""A model that keeps failing is not asked for a while."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException

from dsplus_chains.running.breaker import FIRST, CircuitBreaker, CircuitOpenError
from dsplus_chains.schema import BudgetError, InvalidInputError, SubtaskError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class RefusedError(Exception):
    status_code = 401


DOWN = ConnectionError("down")


def chained(error, cause):
    error.__cause__ = cause
    return error


def test_it_opens_after_failures_in_a_row_and_not_before():
    breaker = CircuitBreaker(failures=3)
    for error in (DOWN, DOWN, None, DOWN, DOWN):
        assert breaker.refusal() is None
        breaker.heard(error)
    assert breaker.refusal() is None
    breaker.heard(DOWN)
    assert isinstance(breaker.refusal(), CircuitOpenError)


def test_after_a_while_one_is_let_through_and_decides():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, cooldown=10, clock=clock)
    breaker.heard(DOWN)
    clock.now = 9.9
    assert breaker.refusal() is not None
    clock.now = 10
    assert breaker.refusal() is None
    assert breaker.refusal() is not None, "one alone"
    breaker.heard(DOWN)
    clock.now = 19
    assert breaker.refusal() is not None, "it waits again"
    clock.now = 20
    assert breaker.refusal() is None
    breaker.heard(None)
    assert breaker.refusal() is None
    assert breaker.refusal() is None


def test_a_probe_that_is_given_up_lets_the_next_one_through():
    clock = Clock()
    breaker = CircuitBreaker(failures=1, cooldown=0, clock=clock)
    breaker.heard(DOWN)
    assert breaker.refusal() is None
    assert breaker.refusal() is not None
    breaker.abandon()
    assert breaker.refusal() is None


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_request_that_can_never_succeed_opens_it_for_good(status):
    clock = Clock()
    breaker = CircuitBreaker(failures=5, cooldown=1, clock=clock)
    error = RefusedError()
    error.status_code = status
    breaker.heard(error)
    clock.now = 1e9
    assert breaker.refusal() is not None
    breaker.heard(None)  # one that was under way
    assert breaker.refusal() is not None
    assert breaker.hopeless is error
    breaker.reset()
    assert breaker.refusal() is None


def test_only_outages_count():
    breaker = CircuitBreaker(failures=1)
    breaker.heard(OutputParserException("no label"))
    breaker.heard(ValueError("of the input"))
    assert breaker.refusal() is not None
    breaker = CircuitBreaker(failures=1)
    breaker.heard(OutputParserException("no label"))
    assert breaker.refusal() is None


NOTHING = {
    "a refusal of the budget": BudgetError("not asked"),
    "one that caused another error": chained(SubtaskError("failed"), BudgetError("not asked")),
    "a wrong input": InvalidInputError("no text"),
    "a cancellation": asyncio.CancelledError(),
    "Ctrl-C": KeyboardInterrupt(),
    "a closed stream": GeneratorExit(),
}


def open_breaker():
    """One that has opened, and lets a row through."""
    breaker = CircuitBreaker(failures=1, cooldown=0)
    breaker.heard(DOWN)
    return breaker


def raising(breaker, error):
    with pytest.raises(type(error)), breaker.watching():
        raise error


@pytest.mark.parametrize("tell", [CircuitBreaker.heard, raising])
@pytest.mark.parametrize("error", NOTHING.values(), ids=NOTHING)
def test_what_says_nothing_of_the_model_is_neither_a_success_nor_a_failure(error, tell):
    breaker = CircuitBreaker(failures=2)
    breaker.heard(DOWN)
    tell(breaker, error)
    assert (breaker.refusal(), breaker.window) == (None, FIRST)
    breaker.heard(DOWN)
    assert breaker.refusal() is not None, "two in a row"
    breaker = open_breaker()
    if tell is CircuitBreaker.heard:
        assert breaker.refusal() is None
    tell(breaker, error)
    assert breaker.refusal() is None, "the next one is let through"
    assert breaker.refusal() is not None, "one alone"


def test_a_graph_that_waits_for_a_person_has_not_failed():
    errors = pytest.importorskip("langgraph.errors")
    breaker = CircuitBreaker(failures=1)
    raising(breaker, errors.GraphInterrupt())
    assert breaker.refusal() is None
    breaker = open_breaker()
    raising(breaker, errors.GraphInterrupt())
    assert breaker.refusal() is None


def test_a_refusal_that_a_client_raises_is_an_answer():
    class ContentFilterFinishReasonError(Exception):
        pass

    breaker = open_breaker()
    raising(breaker, ContentFilterFinishReasonError())
    assert [breaker.refusal(), breaker.refusal()] == [None, None]


def test_a_copy_has_failures_of_its_own():
    breaker = CircuitBreaker(failures=1)
    breaker.heard(DOWN)
    for again in (copy.deepcopy(breaker), pickle.loads(pickle.dumps(breaker))):
        assert again == breaker
        assert again.refusal() is None


@pytest.mark.parametrize("settings", [{"failures": 0}, {"cooldown": -1}, {"cooldown": float("nan")}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Got failures="):
        CircuitBreaker(**settings)


@given(st.lists(st.sampled_from([None, DOWN]), max_size=60), st.integers(1, 6))
def test_never_more_calls_than_its_failures_in_a_row(heard, failures):
    breaker, row = CircuitBreaker(failures=failures, cooldown=1e9), 0
    for error in heard:
        if breaker.refusal() is not None:
            assert row == failures
            break
        row = 0 if error is None else row + 1
        breaker.heard(error)
        assert row <= failures
        assert breaker.window >= FIRST
