import gc
import time

import clock
import pytest
from clock import at_most, auntil, longer, no_garbage, until


def test_only_the_work_of_the_block_counts():
    with at_most(0.05):
        time.sleep(0.2)
    with pytest.raises(AssertionError, match=r"s of a processor where 0\.0001 s are the bound"), at_most(0.0001):
        sum(range(1_000_000))


def test_an_error_of_the_block_is_its_own():
    with pytest.raises(ZeroDivisionError), at_most(-1):
        raise ZeroDivisionError


def test_garbage_is_collected_again_after_the_block():
    with no_garbage():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), no_garbage():
        raise ZeroDivisionError
    assert gc.isenabled()


async def test_who_waits_goes_on_once_it_holds_and_fails_if_it_never_does(monkeypatch):
    looks = iter([0, "", 1, 0, "", 1])
    until(lambda: next(looks))
    await auntil(lambda: next(looks))
    assert list(looks) == []
    monkeypatch.setattr(clock, "PATIENCE", 0.01)
    with pytest.raises(AssertionError, match=r"after 0\.01 s"):
        until(lambda: False)
    with pytest.raises(AssertionError, match=r"after 0\.01 s"):
        await auntil(lambda: False)


def tried(error, enough):
    """The limits of the tries of a check that fails with less than enough time."""
    given = []
    try:
        for one in longer(0.5):
            with one as seconds:
                given.append(seconds)
                if seconds < enough:
                    raise error
    except type(error):
        given.append("raised")
    return given


def test_a_try_that_fails_is_made_again_with_more_time_and_the_last_one_fails():
    late = AssertionError("late")
    assert tried(late, enough=0.5) == [0.5]
    assert tried(late, enough=5) == [0.5, 5]
    assert tried(late, enough=500) == [0.5, 5, 50, "raised"]


def test_an_error_that_is_no_failed_check_is_raised_by_the_first_try():
    assert tried(ValueError("wrong"), enough=5) == [0.5, "raised"]
