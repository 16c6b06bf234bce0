import time

import pytest
from clock import at_most


def test_only_the_work_of_the_block_counts():
    with at_most(0.05):
        time.sleep(0.2)
    with pytest.raises(AssertionError, match=r"s of a processor where 0\.0001 s are the bound"), at_most(0.0001):
        sum(range(100_000))


def test_an_error_of_the_block_is_its_own():
    with pytest.raises(ZeroDivisionError), at_most(-1):
        1 / 0  # noqa: B018
