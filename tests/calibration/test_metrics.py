from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import brier_score_loss, log_loss

from dsplus_chains.calibration.metrics import (
    adaptive_calibration_error,
    aurc,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage_curve,
)

ROWS = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30)


def test_exactly_n_bins_with_their_lower_edges_and_one_in_the_last():
    bins = reliability_bins([0.0, 0.25, 0.5, 0.75, 1.0], [True] * 5, n_bins=4)
    assert bins.count.tolist() == [1, 1, 1, 2]


def test_calibration_error_by_hand():
    # Bins [0.5, 1]: mean confidence 0.8, half right; [0, 0.5): mean 0.3, all right.
    assert expected_calibration_error([0.7, 0.9, 0.2, 0.4], [True, False, True, True], n_bins=2) == pytest.approx(0.5)


def test_a_calibrated_and_a_sure_but_wrong_model():
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert expected_calibration_error([1.0] * 4, [False] * 4) == pytest.approx(1)


def test_equal_mass_bins_have_equal_numbers_of_rows():
    confidence = np.linspace(0.9, 1.0, 100)
    bins = reliability_bins(confidence, np.ones(100, dtype=bool), n_bins=10, equal_mass=True)
    assert bins.count.tolist() == [10] * 10


def test_adaptive_error_sees_what_one_wide_bin_hides():
    confidence = np.repeat([0.94, 0.99], 50)
    correct = np.r_[np.ones(50), np.tile([1, 1, 1, 1, 1, 1, 1, 1, 1, 0], 5)].astype(bool)
    assert adaptive_calibration_error(confidence, correct, n_bins=2) == pytest.approx((0.06 + 0.09) / 2)
    assert expected_calibration_error(confidence, correct, n_bins=10) == pytest.approx(0.015)


@given(ROWS, st.integers(1, 20), st.booleans(), st.randoms())
def test_bins_do_not_depend_on_the_order_of_rows(rows, n_bins, equal_mass, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = (
        reliability_bins(*zip(*each, strict=True), n_bins=n_bins, equal_mass=equal_mass) for each in (rows, shuffled)
    )
    assert first.count.tolist() == second.count.tolist()
    assert first.error == pytest.approx(second.error)
    assert first.count.sum() == len(rows)
    assert len(first.count) == n_bins
    assert 0 <= first.error <= 1


@pytest.mark.parametrize("metric", [expected_calibration_error, adaptive_calibration_error, aurc])
def test_no_rows_give_nan(metric):
    assert np.isnan(metric([], []))


@pytest.mark.parametrize(
    ("confidence", "n_bins", "message"),
    [([1.2], 5, "outside"), ([np.nan], 5, "missing"), ([0.5], 0, "n_bins=0"), ([0.5, 0.5], 5, "two equal lists")],
)
def test_bad_values_are_refused(confidence, n_bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(confidence, [True], n_bins=n_bins)


@given(
    arrays.arrays(np.float64, (8, 3), elements=st.floats(0.01, 1)), st.lists(st.integers(0, 2), min_size=8, max_size=8)
)
def test_brier_score_and_likelihood_agree_with_scikit_learn(weights, targets):
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = [0, 1, 2]
    assert negative_log_likelihood(probabilities, targets) == pytest.approx(
        log_loss(targets, probabilities, labels=labels)
    )
    theirs = brier_score_loss(targets, probabilities, labels=labels, scale_by_half=False)
    assert brier_score(probabilities, targets) == pytest.approx(theirs)


def test_a_label_without_a_column():
    assert brier_score([[1.0, 0.0]], [-1]) == pytest.approx(2.0)
    assert negative_log_likelihood([[1.0, 0.0]], [-1]) == pytest.approx(-np.log(np.finfo(float).eps))
    with pytest.raises(ValueError, match="column indices"):
        brier_score([[1.0, 0.0]], [2])


def test_tied_confidences_are_kept_together():
    # An argsort over these rows promises risk 0 at coverage 0.2, which no threshold reaches.
    curve = risk_coverage_curve([0.9, 0.9, 0.6, 0.6, 0.3], [True, False, True, True, False])
    assert curve.threshold.tolist() == [0.9, 0.6, 0.3]
    np.testing.assert_allclose(curve.coverage, [0.4, 0.8, 1.0])
    np.testing.assert_allclose(curve.risk, [0.5, 0.25, 0.4])


@given(ROWS)
def test_each_point_of_the_curve_is_what_its_threshold_keeps(rows):
    confidence, correct = map(np.array, zip(*rows, strict=True))
    curve = risk_coverage_curve(confidence, correct)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        kept = confidence >= threshold
        assert coverage == pytest.approx(kept.mean())
        assert risk == pytest.approx((~correct[kept]).mean())


def test_rows_without_a_confidence_are_never_kept():
    curve = risk_coverage_curve([0.9, np.nan], [True, False])
    assert curve.coverage.tolist() == [0.5]
    assert aurc([0.9, np.nan], [True, False]) == pytest.approx((0 + 0.5) / 2)
    assert risk_coverage_curve([], []).risk.tolist() == []


@given(st.permutations(list(range(12))), st.lists(st.booleans(), min_size=12, max_size=12))
def test_area_is_the_mean_selective_risk_where_nothing_ties(order, correct):
    confidence = np.array(order) / 12
    wrong = ~np.array(correct)[np.argsort(-confidence)]
    assert aurc(confidence, correct) == pytest.approx(np.mean(np.cumsum(wrong) / np.arange(1, 13)))


def test_equal_confidences_have_the_area_of_their_error_rate():
    assert aurc([0.7] * 4, [True, False, False, False]) == pytest.approx(0.75)
