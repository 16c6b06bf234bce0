from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from dsplus_chains.calibration.conformal import conformal_level, cumulative_scores, in_set


def rows(n, *, n_labels=20, sharpness=2.0, seed=0):
    """Calibrated probabilities, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    table = softmax(sharpness * rng.normal(size=(n, n_labels)), axis=1)
    return table, np.array([rng.choice(n_labels, p=row) for row in table])


@pytest.mark.parametrize("set_coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("bent", [0.3, 1.0, 3.0], ids=["flat", "calibrated", "sharp"])
def test_coverage_holds_on_average_over_calibration_sets_whatever_the_probabilities(set_coverage, bent):
    table, truth = rows(4000)
    wrong = table**bent / (table**bent).sum(axis=1, keepdims=True)
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        order = rng.permutation(4000)
        known, other = order[:200], order[200:]
        level = conformal_level(wrong[known], truth[known], set_coverage=set_coverage)
        found.append(in_set(wrong[other], level)[np.arange(3800), truth[other]].mean())
    error = np.std(found) / 10
    assert np.mean(found) >= set_coverage - 3 * error
    assert np.mean(found) <= set_coverage + 0.06


def test_sure_rows_get_small_sets_and_unsure_ones_large():
    table, truth = rows(2000)
    sizes = in_set(table, conformal_level(table, truth, set_coverage=0.9)).sum(axis=1)
    sure = table.max(axis=1) > np.median(table.max(axis=1))
    assert sizes[sure].mean() < sizes[~sure].mean()


def test_too_few_rows_promise_nothing_and_offer_everything():
    table, truth = rows(18)
    assert conformal_level(table, truth, set_coverage=0.95) == 1.0
    assert in_set(table, 1.0).all()
    assert conformal_level(np.empty((0, 3)), np.empty(0), set_coverage=0.5) == 1.0


def test_by_hand():
    level = conformal_level([[0.7, 0.2, 0.1]] * 4, [0, 0, 1, 2], set_coverage=0.6)
    assert level == pytest.approx(0.9), "the third of four scores 0.7, 0.7, 0.9, 1.0"
    assert in_set([[0.5, 0.3, 0.2], [0.95, 0.03, 0.02]], level).tolist() == [[True, True, False], [True, False, False]]


@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_set_is_a_run_of_the_most_likely_labels_and_never_empty(n_labels, seed, level):
    table = np.random.default_rng(seed).dirichlet(np.ones(n_labels), size=5).round(1)
    for row, held in zip(table, in_set(table, level), strict=True):
        assert held.any()
        assert row[held].min() >= row[~held].max(initial=0)


def test_ties_go_together_whatever_their_order():
    assert cumulative_scores([[0.25, 0.5, 0.25], [0.5, 0.0, 0.5]]).tolist() == [[1.0, 0.5, 1.0], [1.0, 1.0, 1.0]]
    assert in_set([[0.25, 0.5, 0.25], [0.5, 0.0, 0.5]], 0.5).tolist() == [[False, True, False], [True, False, True]]


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_score_is_the_mass_of_what_is_at_least_as_likely(n_labels, seed):
    table = np.random.default_rng(seed).dirichlet(np.ones(n_labels), size=5).round(1)
    by_hand = [[row[row >= share].sum() for share in row] for row in table]
    assert cumulative_scores(table) == pytest.approx(np.array(by_hand))


def test_a_coverage_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="set_coverage=1"):
        conformal_level([[1.0]], [0], set_coverage=1)


def test_a_row_that_no_label_covers_counts_as_missed():
    table, truth = [[0.6, 0.4]] * 10, [0] * 9 + [-1]
    assert conformal_level(table, truth, set_coverage=0.8) == pytest.approx(0.6)
    assert conformal_level(table, truth, set_coverage=0.9) == 1.0
