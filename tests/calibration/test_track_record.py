from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains import TrackRecord
from dsplus_chains.calibration.track_record import BINS, ROWS


def test_shares_by_hand():
    record = TrackRecord.fit([0.5] * 50 + [0.8] * 50, [True] * 20 + [False] * 30 + [True] * 44 + [False] * 6)
    assert record.confidences == pytest.approx((0.5, 0.8))
    assert record.shares == pytest.approx((21 / 52, 45 / 52))
    assert record.at(0.65) == pytest.approx((21 / 52 + 45 / 52) / 2)
    assert (record.at(0.1), record.at(1.0)) == record.shares
    assert record.at(None) is None
    assert record.at(float("nan")) is None


def test_shares_that_would_fall_are_pooled():
    right = [True] * 40 + [False] * 10 + [True] * 20 + [False] * 30
    assert TrackRecord.fit([0.5] * 50 + [0.8] * 50, right).shares == pytest.approx([62 / 104] * 2)


def test_it_finds_the_curve_that_the_rows_were_drawn_from():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.3, 1.0, 20_000)
    record = TrackRecord.fit(sure, rng.random(20_000) < sure**2)
    assert len(record.shares) == BINS
    for confidence in (0.4, 0.55, 0.7, 0.85, 0.95):
        assert record.at(confidence) == pytest.approx(confidence**2, abs=0.03)


@given(st.lists(st.tuples(st.floats(0, 1) | st.just(0.5), st.booleans()), min_size=ROWS, max_size=200), st.data())
def test_whatever_the_rows_the_curve_rises_within_0_and_1(rows, data):
    record = TrackRecord.fit(*zip(*rows, strict=True))
    assert 1 <= len(record.shares) <= min(BINS, len(rows) // ROWS)
    low, high = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    assert 0 < record.at(low) <= record.at(high) + 1e-12 < 1
    assert TrackRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_confidences_that_reach_1_and_rows_without_one():
    sure = np.concatenate([np.full(100, 1.0), np.full(1000, 1 - 1e-16), 1 - np.arange(1, 40) * 1e-16, [np.nan] * 9])
    record = TrackRecord.fit(sure, np.ones(len(sure)))
    assert record.at(1.0) < 1


@pytest.mark.parametrize(
    ("confidences", "right", "message"),
    [
        ([0.5] * 29, [True] * 29, "Got 29 rows"),
        ([float("nan")] * 40, [True] * 40, "Got 0 rows"),
        ([0.5] * 40, [True] * 39, r"shape \(40,\) and right of shape \(39,\)"),
    ],
)
def test_rows_that_tell_nothing_are_refused(confidences, right, message):
    with pytest.raises(ValueError, match=message):
        TrackRecord.fit(confidences, right)


@pytest.mark.parametrize(
    ("confidences", "shares"),
    [((), ()), ((0.5,), ()), ((0.9, 0.5), (0.1, 0.2)), ((0.5, 0.9), (0.2, 0.1)), ((0.5,), (1.5,)), ((0.5,), (-0.1,))],
)
def test_what_is_no_rising_curve_is_refused(confidences, shares):
    with pytest.raises(ValueError, match="expected as many of both, rising"):
        TrackRecord(confidences=confidences, shares=shares)


@pytest.mark.parametrize(
    "data", [{}, {"confidences": [0.5]}, {"confidences": 1, "shares": 2}, {"confidences": [None], "shares": [1]}]
)
def test_what_to_dict_did_not_write_is_refused(data):
    with pytest.raises(ValueError, match="expected what to_dict"):
        TrackRecord.from_dict(data)
