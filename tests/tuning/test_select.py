from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import PoissonRegressor

from dsplus_chains.evaluation.curve import operating_curve
from dsplus_chains.tuning.select import falling_gain, where_calls_pay


def kept(confidence, gains, *, price, most=1.0):
    """How many rows are kept; at most that share may be deferred."""
    right = np.ones(len(confidence), dtype=bool)
    curve = operating_curve(np.array(confidence, dtype=float), right, right, reference_right=right)
    allowed = curve.n - curve.kept <= most * curve.n
    return int(curve.kept[where_calls_pay(curve, allowed, confidence, gains, price=price)])


LOG_ODDS = np.arange(5.0)
HALVED = 0.5 * np.exp(-LOG_ODDS)  # .5, .184, .068, .025, .009


@pytest.mark.parametrize(("price", "expected"), [(0.6, 5), (0.2, 4), (0.05, 2), (0.02, 1), (0.005, 0)])
def test_calls_are_made_up_to_where_their_gain_falls_below_the_price(price, expected):
    assert kept(expit(LOG_ODDS), HALVED, price=price) == expected


def test_a_budget_is_kept_and_spent_where_calls_pay_most():
    assert kept(expit(LOG_ODDS), HALVED, price=0.005, most=0.4) == 3


def test_rows_without_a_confidence_say_nothing_and_are_deferred():
    assert kept([np.nan, *expit(LOG_ODDS), np.nan], [1, *HALVED, 1], price=0.05) == 2
    assert kept([np.nan, np.nan], [1, 0], price=0.05) == 0


@pytest.mark.parametrize("gain", [0.0, -1.0])
@pytest.mark.parametrize("price", [0.0, 0.005])
def test_where_no_call_gains_none_is_made(gain, price):
    assert kept([0.5, 0.9, 1.0], [gain] * 3, price=price) == 3


def test_equally_sure_rows_are_kept_or_deferred_together():
    assert kept([0.6, 0.6, 0.6, 0.99, 0.99], [1, 0, 0, 0, 0], price=0.1) == 2


def test_a_gain_that_rises_with_confidence_is_taken_as_its_mean():
    level, slope = falling_gain(LOG_ODDS, HALVED[::-1])
    assert slope == 0
    assert np.exp(level) == pytest.approx(HALVED.mean(), rel=1e-4)


@given(st.integers(0, 10**6))
def test_it_is_the_poisson_regression_of_another_library(seed):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(2, 2, size=200)
    gains = (rng.random(200) < np.minimum(0.9, 0.3 * np.exp(-0.5 * log_odds))).astype(float)
    level, slope = falling_gain(log_odds, gains)
    oracle = PoissonRegressor(alpha=0, max_iter=1000, tol=1e-9).fit(log_odds[:, None], gains)
    assert level == pytest.approx(oracle.intercept_, abs=1e-3)
    assert slope == pytest.approx(-oracle.coef_[0], abs=1e-3)
