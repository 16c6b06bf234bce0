"""Choosing a model by foreseen scores and costs: pure functions, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import linregress

from dsplus_chains import InfeasibleTargetError, InvalidInputError, TrainingDataError
from dsplus_chains.gating.composition import (
    at_equal_cost,
    fit_honesty,
    preference,
    report_composition,
    tradeoff_within,
)
from dsplus_chains.gating.score_table import score_table

SHARES = st.floats(0, 1, allow_nan=False)


def test_of_equals_the_cheaper_comes_first_then_the_one_named_first():
    expected = np.array([[0.5, 0.5, 0.5]])
    assert preference(expected, np.array([2.0, 1.0, 1.0]), 0.0).tolist() == [[1, 2, 0]]


@given(arrays(np.float64, (6, 3), elements=SHARES), st.floats(0, 5), st.floats(0, 5))
def test_a_higher_tradeoff_never_costs_more(expected, one, other):
    costs = np.array([1.0, 3.0, 2.0])
    low, high = sorted((one, other))
    spent = [costs[preference(expected, costs, tradeoff)[:, 0]].mean() for tradeoff in (low, high)]
    assert spent[1] <= spent[0] + 1e-12


@given(arrays(np.float64, (6, 3), elements=SHARES), st.floats(1, 3))
def test_the_cheapest_tradeoff_that_keeps_the_cost(expected, cost):
    costs = np.array([1.0, 3.0, 2.0])
    found = tradeoff_within(expected, costs, cost)
    spent = [costs[preference(expected, costs, tradeoff)[:, 0]].mean() for tradeoff in (found, 0.999 * found - 1e-9)]
    assert spent[0] <= cost
    assert found == 0 or spent[1] > cost


def test_nothing_costs_less_than_the_cheapest_model():
    with pytest.raises(InfeasibleTargetError, match="cheapest"):
        tradeoff_within(np.zeros((2, 2)), np.array([1.0, 2.0]), 0.5)


@given(arrays(np.float64, (5, 4), elements=SHARES), st.floats(0, 3))
def test_the_order_holds_each_model_once_by_falling_worth(expected, tradeoff):
    costs = np.array([1.0, 2.0, 0.5, 4.0])
    order = preference(expected, costs, tradeoff)
    assert (np.sort(order, axis=1) == np.arange(4)).all()
    worth = np.take_along_axis(expected - tradeoff * costs, order, axis=1)
    assert (np.diff(worth, axis=1) <= 0).all()


@given(arrays(np.float64, 4, elements=SHARES), arrays(np.float64, 4, elements=st.floats(0.1, 5)), st.floats(0, 6))
def test_no_lottery_within_the_cost_does_better(scores, costs, cost):
    best = at_equal_cost(scores, costs, cost)
    allowed = max(cost, costs.min())
    rng = np.random.default_rng(0)
    for weights in rng.dirichlet(np.full(4, 0.3), 300):
        if weights @ costs <= allowed:
            assert weights @ scores <= best + 1e-9


def test_the_honest_score_is_the_regression_of_known_scores():
    rng = np.random.default_rng(0)
    expected = rng.random((200, 2))
    chosen = expected.argmax(axis=1)
    scores = np.full((200, 2), np.nan)
    scores[np.arange(200), chosen] = 0.5 * expected[np.arange(200), chosen] + rng.normal(0, 0.05, 200)
    scores[:20] = np.nan  # never tried
    shift, slope = fit_honesty(expected, scores, chosen)
    line = linregress(expected[np.arange(20, 200), chosen[20:]], scores[np.arange(20, 200), chosen[20:]])
    assert (shift, slope) == pytest.approx((line.intercept, line.slope))


def test_foreseen_scores_that_are_all_alike_read_as_the_mean():
    assert fit_honesty(np.full((4, 1), 0.8), np.array([[0.0], [1.0], [1.0], [1.0]]), np.zeros(4, int)) == (0.75, 0.0)
    assert fit_honesty(np.full((2, 1), 0.8), np.full((2, 1), np.nan), np.zeros(2, int)) == (0.0, 1.0)


def test_a_report_by_hand():
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, np.nan]])
    expected = np.array([[0.9, 0.2], [0.1, 0.8], [0.9, 0.8], [0.3, 0.6]])
    report = report_composition(expected, scores, np.array([3.0, 1.0]), names=["big", "tiny"], tradeoff=0.0)
    # big, tiny, big, and tiny on the row where it was never tried
    assert report.shares == {"big": 0.5, "tiny": 0.5}
    assert (report.n, report.cost, report.oracle) == (3, 2.0, 1.0)
    assert report.best_single.model == "big"
    assert report.best_single.score == pytest.approx(2 / 3)
    assert (report.score, report.difference) == (1.0, pytest.approx(1 / 3))
    assert (report.recoverable, report.recovered) == (0.25, 1.0)
    assert report.random_at_equal_cost == pytest.approx((0.75 + 2 / 3) / 2)
    assert report.interval.low < 0 < report.interval.high
    assert report.curve[0].tradeoff == 0.0
    assert report.curve[-1].cost == 1.0
    assert "of which 100.0 % are recovered" in str(report)


def test_models_of_one_price_have_one_point():
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    report = report_composition(scores, scores, np.array([1.0, 1.0]), names=["a", "b"], tradeoff=0.0)
    assert [(point.score, point.cost) for point in report.curve] == [(1.0, 1.0)]


@pytest.mark.parametrize(
    "scores",
    [
        {"a": [1, 0], "b": [0.5, None]},
        {"b": [0.5, float("nan")], "a": [1, 0], "others are left out": ["x", "y"]},
        [{"a": 1, "b": 0.5}, {"a": 0}],
        np.array([[1.0, 0.5], [0.0, np.nan]]),
    ],
)
def test_scores_come_in_any_table(scores):
    assert np.array_equal(score_table(scores, ["a", "b"], n=2), [[1.0, 0.5], [0.0, np.nan]], equal_nan=True)


def test_a_data_frame_is_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"b": [0.5, None], "a": [1, 0]})
    assert np.array_equal(score_table(frame, ["a", "b"], n=2), [[1.0, 0.5], [0.0, np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({"a": [1, 0]}, "'b'"),
        ({"a": [1], "b": [1, 0]}, "1 scores of 'a' for 2 texts"),
        ({"a": [1, 0], "b": [None, None]}, "no score of 'b'"),
        ({"a": [1, "good"], "b": [1, 0]}, "'good'"),
        ({"a": [1, float("inf")], "b": [1, 0]}, "inf"),
        (np.zeros((3, 2)), r"\(3, 2\)"),
        ("good", "one column a model"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(scores, told):
    with pytest.raises(TrainingDataError, match=told):
        score_table(scores, ["a", "b"], n=2)


@pytest.mark.filterwarnings("error")
def test_a_row_and_a_model_without_scores_change_nothing_else():
    known = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]])
    expected = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
    costs = np.array([1.0, 2.0])
    plain = report_composition(expected, known, costs, names=["a", "b"], tradeoff=0.0)
    row = report_composition(
        np.vstack([expected, [[0.9, 0.1]]]), np.vstack([known, [[np.nan] * 2]]), costs, names=["a", "b"], tradeoff=0.0
    )
    assert (row.n, row.score, row.oracle) == (plain.n, plain.score, plain.oracle)
    column = report_composition(
        np.hstack([expected, [[0.0]] * 3]),
        np.hstack([known, [[np.nan]] * 3]),
        np.array([1.0, 2.0, 9.0]),
        names=["a", "b", "c"],
        tradeoff=0.0,
    )
    assert (column.best_single, column.score) == (plain.best_single, plain.score)
    assert column.random_at_equal_cost == plain.random_at_equal_cost


def test_one_row_has_an_endless_interval():
    report = report_composition(np.array([[0.5, 0.4]]), np.array([[1.0, 0.0]]), np.ones(2), names="ab", tradeoff=0.0)
    assert (report.n, report.score, report.interval.low) == (1, 1.0, -np.inf)


def test_nothing_is_said_where_nothing_can_be_compared():
    scores = np.array([[np.nan, 1.0], [0.0, np.nan]])
    with pytest.raises(InvalidInputError, match="no row with a score of the chosen model and of 'b'"):
        report_composition(np.array([[0.5, 0.4]] * 2), scores, np.ones(2), names=["a", "b"], tradeoff=0.0)
