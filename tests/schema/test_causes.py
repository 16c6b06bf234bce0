"""What has caused an error is found however it was wrapped, and what a caller was handling is no cause."""

from __future__ import annotations

import pytest

from dsplus_chains import BudgetError, ConfidenceBranch, Prediction
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budgeted_row import _may_be_answered
from dsplus_chains.running.endings import spoken
from dsplus_chains.running.outage import is_callers_bug, why_hopeless
from dsplus_chains.running.stale_loops import is_stale
from dsplus_chains.schema import DSPlusError, budget_error, causes


class NoSuchModelError(Exception):
    status_code = 404


class ModelRefusalError(Exception):
    """As the newest LangChain calls it."""


class ReadError(Exception):
    """As httpx calls it."""


def reraised(cause, how, wrapper):
    try:
        raise cause
    except Exception as error:
        if how == "from":
            raise wrapper("wrapped") from error
        if how == "from none":
            raise wrapper("wrapped") from None
        raise wrapper("wrapped")  # noqa: B904


def wrapped(cause, how, wrapper=ValueError):
    with pytest.raises(wrapper) as caught:
        reraised(cause, how, wrapper)
    return caught.value


def bug():
    try:
        return {}["x"]
    except KeyError as error:
        return error


HOW = pytest.mark.parametrize("how", ["from", "from none", "meanwhile"])
FINDERS = {
    "budget": (BudgetError("spent"), ValueError, lambda error: budget_error(error) is not None),
    "refusal": (ModelRefusalError("no"), ValueError, lambda error: spoken(error) is not None),
    "stale": (RuntimeError("Event loop is closed"), ConnectionError, is_stale),
    "bug": (bug(), DSPlusError, is_callers_bug),
    "lost": (ReadError("lost"), ConnectionError, _may_be_answered),
    "hopeless": (NoSuchModelError("no such model"), ValueError, lambda error: why_hopeless(error) is not None),
}


@HOW
@pytest.mark.parametrize("kind", FINDERS)
def test_a_cause_is_found_however_it_was_wrapped(kind, how):
    cause, wrapper, finds = FINDERS[kind]
    assert finds(cause)
    assert finds(wrapped(cause, how, wrapper))
    assert finds(wrapped(wrapped(cause, how, wrapper), how, wrapper))
    assert not finds(wrapper("alone"))


@pytest.mark.parametrize("kind", FINDERS)
def test_what_a_caller_was_handling_is_no_cause(kind):
    cause, wrapper, finds = FINDERS[kind]
    try:
        raise cause
    except Exception:
        with pytest.raises(wrapper) as caught:
            reraised(OSError("of its own"), "meanwhile", wrapper)
    assert [type(found) for found in causes(caught.value)] == [wrapper, OSError]
    assert not finds(caught.value)


@HOW
def test_a_circle_ends(how):
    first = OSError("first")
    last = wrapped(first, how)
    first.__cause__ = last
    assert list(causes(last)) == [last, first]
    assert list(causes(None)) == []


def test_a_chain_that_is_called_where_an_error_is_handled_fails_as_anywhere_else():
    def arm(record):
        raise TimeoutError("no answer")

    breaker = CircuitBreaker(failures=2)
    for limits in ({}, {"breaker": breaker}):
        branch = ConfidenceBranch(large=arm, threshold=None, wants="record", **limits)
        try:
            raise NoSuchModelError("no such model")
        except NoSuchModelError:
            record = branch.invoke({"input": "x", "prediction": Prediction(label="a", confidence=0.1)})
        assert record["error"] == "TimeoutError: no answer"
    assert breaker.hopeless is None


class APITimeoutError(Exception):
    """As a provider's client calls it."""


@pytest.mark.parametrize("kind", [TimeoutError, ConnectionError, APITimeoutError])
def test_a_backup_that_does_not_answer_is_no_refusal_of_the_first_model(kind):
    def arm(record):
        try:
            raise NoSuchModelError("no such model")
        except NoSuchModelError:
            raise kind("the backup has no answer")  # noqa: B904

    breaker = CircuitBreaker(failures=10)
    branch = ConfidenceBranch(large=arm, threshold=None, wants="record", breaker=breaker)
    for _ in range(3):
        record = branch.invoke({"input": "x", "prediction": Prediction(label="a", confidence=0.1)})
        assert record["error"] == f"{kind.__name__}: the backup has no answer"
    assert breaker.hopeless is None
    assert why_hopeless(wrapped(NoSuchModelError("no such model"), "from", kind)) is not None
