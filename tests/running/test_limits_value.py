"""`Limits` are checked where they are made."""

import pytest

from dsplus_chains.running.limits import Limits
from dsplus_chains.schema import InvalidInputError


@pytest.mark.parametrize("name", ["timeout", "deadline"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", True])
def test_what_is_no_time_is_refused(name, seconds):
    with pytest.raises(InvalidInputError, match=f"Got {name}=.* but expected a number of seconds above 0"):
        Limits(**{name: seconds})


def test_a_time_and_none_are_taken():
    assert (Limits(timeout=0.5).timeout, Limits(deadline=3).deadline, Limits().timeout) == (0.5, 3, None)
