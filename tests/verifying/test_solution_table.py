"""The best pair of a table, by hand and against a slow way to find it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.verifying.candidate_verdict import Check, Verdict, as_verdict
from dsplus_chains.verifying.solution_table import best_pair, table_of

TABLES = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)
)


@pytest.mark.parametrize(
    ("table", "solution", "explained"),
    [
        ([[1]], 0, 1.0),
        ([[0]], None, 0.0),
        ([[1, 1], [1, 1]], 0, 1.0),
        ([[1, 0], [0, 1]], 0, 1 / 4),  # two pairs of 1 * 1: the first one
        ([[0, 1], [1, 1]], 1, 4 / 4),  # the second passes 2, and its second test is passed by 2
        ([[0, 0], [1, 0], [1, 0]], 1, 2 / 6),  # a tie of equal solutions
        ([[1, 1, 0], [1, 1, 0], [0, 0, 1]], 0, 4 / 9),
        ([[0, 0, 1], [1, 1, 0], [1, 1, 0]], 1, 4 / 9),
    ],
)
def test_tables_by_hand(table, solution, explained):
    assert best_pair(table) == (solution, pytest.approx(explained))


@given(TABLES)
def test_it_is_what_trying_every_pair_finds(table):
    best, found = 0, None
    for number, row in enumerate(table):
        for test, passed in enumerate(row):
            product = passed * sum(row) * sum(other[test] for other in table)
            if product > best:
                best, found = product, number
    assert best_pair(table) == (found, pytest.approx(best / (len(table) * len(table[0]))))


@given(TABLES)
def test_all_is_explained_iff_all_pass(table):
    """One test that all pass, beside a solution that passes all, explains all: the pair's own row and column count."""
    _, explained = best_pair(table)
    full = any(all(row) and any(all(other[test] for other in table) for test in range(len(row))) for row in table)
    assert (explained == 1) == full


def test_no_table_explains_nothing():
    assert best_pair([]) == (None, 0.0)
    assert best_pair([[], []]) == (None, 0.0)


def test_a_test_that_a_verdict_lacks_is_not_passed():
    one = Verdict(checks=(Check(name="a", status="passed"),))
    other = Verdict(checks=(Check(name="b", status="unsupported"), Check(name="a", status="failed")))
    assert table_of([one, None, other]) == [[True, False], [False, False], [False, False]]


def test_verdicts_derive_what_is_not_given():
    passed, failed = Check(name="a", status="passed"), Check(name="b", status="failed", detail="got 3")
    unsupported = Check(name="c", status="unsupported", detail="no numpy")
    assert Verdict(checks=(passed, failed)).score == 0.5
    assert Verdict(checks=(passed, unsupported)).score is None
    assert Verdict(checks=(passed, unsupported)).report == "c: unsupported (no numpy)"
    assert Verdict(checks=(passed, failed), score=0.1, report="bad").score == 0.1
    assert Verdict().score is None
    assert not Verdict().passed
    assert not Verdict(checks=(passed, unsupported)).passed
    assert Verdict(score=1.0).passed


@pytest.mark.parametrize("output", ["yes", None, 2, -0.5, float("nan")])
def test_what_is_no_verdict_is_refused(output):
    with pytest.raises(ValueError, match="expected a Verdict"):
        as_verdict(output)
