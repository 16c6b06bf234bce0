"""A threshold is chosen by labels. What is expected decides only where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.evaluation.curve import operating_curve
from dsplus_chains.tuning.select import stably_accurate

SURE = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7]  # from the surest row to the least sure one
TIES, GAIN, LOSS = (True, True), (False, True), (True, False)


def kept(rows, expected=None, *, confidence=SURE, price=0.0, most=1.0, times=1, seed=0):
    """How many rows are kept, of `(small right, deferred right)`. At most that share may be deferred."""
    conf = np.repeat(np.array(confidence, dtype=float), times)
    small, deferred = (np.repeat(np.array(column, dtype=bool), times) for column in zip(*rows, strict=True))
    curve = operating_curve(conf, small, deferred, reference_right=deferred)
    allowed = curve.n - curve.kept <= most * curve.n + 1e-9
    hopes = None if expected is None else np.repeat(np.array(expected, dtype=float) - price, times)
    chosen = stably_accurate(curve, allowed, conf, small, deferred, min_gain=price, expected=hopes, seed=seed)
    return int(curve.kept[chosen]) // times


FALLING = [0.0, 0.01, 0.02, 0.1, 0.2, 0.4]
CASES = [
    # What the labels tell nothing of, the expectation decides.
    ("no call changes anything, and none is expected to", [TIES] * 6, [-0.01] * 6, {}, 6),
    ("no call changes anything, and all are expected to", [TIES] * 6, [0.3] * 6, {}, 0),
    ("no call changes anything, and some are expected to", [TIES] * 6, np.array(FALLING) - 0.05, {}, 3),
    ("no call changes anything, and nothing is expected", [TIES] * 6, None, {}, 6),
    ("a budget is spent where calls are expected to pay", [TIES] * 6, [0.3] * 6, {"most": 0.5}, 3),
    ("a stretch without news beside sure gains", [TIES] * 3 + [GAIN] * 3, [-1] * 6, {"times": 40}, 3),
    ("the same, and the stretch is expected to gain", [TIES] * 3 + [GAIN] * 3, [1] * 6, {"times": 40}, 0),
    # Where the labels tell something, no expectation counts.
    ("calls lose, whatever is expected", [LOSS] * 6, [1] * 6, {"times": 40}, 6),
    ("calls gain, whatever is expected", [GAIN] * 6, [-1] * 6, {"times": 40}, 0),
    ("sure rows lose, whatever is expected", [LOSS] * 4 + [GAIN] * 2, [1] * 6, {"times": 40}, 4),
    ("the price is not met, whatever is expected", [TIES] * 6, [1] * 6, {"price": 0.05, "times": 40}, 6),
    ("equally sure rows stay together", [TIES] * 2 + [GAIN] * 4, [0] * 6, {"confidence": [0.9] * 2 + [0.5] * 4}, 2),
]


@pytest.mark.parametrize(("rows", "expected", "more", "want"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_labels_choose_and_expectations_break_ties(rows, expected, more, want):
    assert kept(rows, expected, **more) == want


def test_rows_without_a_confidence_are_deferred():
    assert kept([TIES] * 3, [0, 0, 0], confidence=[np.nan, 0.9, np.nan]) == 1
    assert kept([TIES] * 2, [0, 0], confidence=[np.nan, np.nan]) == 0


ROW = st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), st.booleans(), st.booleans(), st.floats(-1, 1))


@given(st.lists(ROW, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_and_no_expectation_buys_a_worse_point(rows, random):
    def chosen(some):
        conf, small, deferred, expected = (np.array(column) for column in zip(*some, strict=True))
        curve = operating_curve(conf, small, deferred, reference_right=deferred)
        every = np.ones(len(curve.thresholds), dtype=bool)
        return curve, stably_accurate(curve, every, conf, small, deferred, min_gain=0.0, expected=expected)

    curve, point = chosen(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert chosen(shuffled)[1] == point
    right = curve.accuracy * curve.n
    assert right.max() - right[point] <= np.sqrt(len(rows)) + 1e-6  # within a standard error of the best, in rows
