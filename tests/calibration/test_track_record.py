from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.calibration.track_record import TrackRecord


def test_it_finds_the_true_rate_of_an_overconfident_model():
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1, 20_000)
    right = generator.random(20_000) < sure - 0.2
    record = TrackRecord.fit(sure, right)
    for confidence in (0.55, 0.7, 0.85, 0.95):
        assert record.at(confidence) == pytest.approx(confidence - 0.2, abs=0.03)


@given(st.integers(30, 300), st.integers(0, 2**32 - 1))
def test_it_rises_stays_within_bounds_and_survives_json(n, seed):
    generator = np.random.default_rng(seed)
    sure = np.round(generator.random(n), 1)  # with ties
    record = TrackRecord.fit(sure, generator.random(n) < 0.5)
    told = [record.at(confidence) for confidence in np.linspace(0, 1, 21)]
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] < 1
    assert TrackRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_by_hand_one_bin_of_equal_confidences():
    record = TrackRecord.fit([0.8] * 38, [True] * 20 + [False] * 18)
    assert record.at(0.8) == record.at(0.1) == record.at(1.0) == pytest.approx(21 / 40)
    assert record.at(None) is None
    assert record.at(math.nan) is None


def test_too_few_rows_and_damaged_data_are_refused():
    with pytest.raises(ValueError, match="one of each a row"):
        TrackRecord.fit([0.5] * 40, [True] * 39)
    with pytest.raises(ValueError, match="at least 30"):
        TrackRecord.fit([0.5] * 20 + [math.nan] * 20, [True] * 40)
    for data in ({}, {"confidences": [0.5], "shares": None}):
        with pytest.raises(ValueError, match="track record"):
            TrackRecord.from_dict(data)
    with pytest.raises(ValueError, match="rising"):
        TrackRecord.from_dict({"confidences": [0.9, 0.5], "shares": [0.1, 0.2]})
