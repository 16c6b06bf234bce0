from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.evaluation.answers import clean_labels, right_answers
from dsplus_chains.evaluation.curve import candidate_thresholds, operating_curve
from dsplus_chains.schema import InvalidInputError, same_label

CONFIDENCE = st.one_of(st.just(float("nan")), st.floats(0, 1))


def test_by_hand():
    curve = operating_curve([0.9, 0.6, 0.6, 0.2], [1, 1, 0, 0], [0, 1, 1, 1], large_cost=[1, 2, 3, 4])
    assert len(curve.thresholds) == 4
    assert curve.kept.tolist() == [0, 1, 3, 4]
    assert curve.accuracy.tolist() == [0.75, 1.0, 0.75, 0.5]
    assert curve.errors.tolist() == [1, 0, 1, 2]
    assert curve.worse.tolist() == [0, 0, 1, 2]
    assert curve.better.tolist() == [0, 1, 1, 1]
    assert curve.cost.tolist() == [2.5, 2.25, 1.0, 0.0]
    np.testing.assert_allclose(curve.kept_accuracy, [np.nan, 1, 2 / 3, 0.5])


@given(st.lists(CONFIDENCE, max_size=30))
def test_candidates_keep_each_possible_set_of_rows_once(confidence):
    values = np.array(confidence)
    points = candidate_thresholds(values)
    assert points[0] is None
    kept = [int((values >= point).sum()) for point in points[1:]]
    distinct = np.unique(values[~np.isnan(values)])
    assert kept == [int((values >= value).sum()) for value in distinct[::-1]]
    assert all(0 <= point <= 1 for point in points[1:])


def test_neighbouring_floats_are_told_apart():
    low = 0.7
    high = float(np.nextafter(low, 1))
    assert candidate_thresholds([low, high]) == (None, high, 0.0)


def test_thresholds_are_readable():
    assert candidate_thresholds([0.912345, 0.823456]) == (None, 0.87, 0.0)


def test_no_rows():
    with pytest.raises(ValueError, match="at least one"):
        operating_curve([], [], [])


def test_labels_of_different_types_are_never_equal():
    assert not same_label(True, 1)
    assert not same_label("1", 1)
    assert right_answers([1, None, "none of these"], [1, 1, 1]).tolist() == [True, False, False]
    with pytest.raises(InvalidInputError, match="answers of type str but labels of type int"):
        right_answers(["1"], [1])


@pytest.mark.parametrize("labels", [[1, float("nan")], ["a", None]])
def test_missing_labels_are_refused(labels):
    with pytest.raises(InvalidInputError, match="no label in row 1"):
        clean_labels(labels)
