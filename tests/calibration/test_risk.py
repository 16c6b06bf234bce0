from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from dsplus_chains.calibration.intervals import clopper_pearson_interval
from dsplus_chains.calibration.risk import binomial_p_value, certify, excess_p_value


@given(st.integers(0, 50), st.floats(0.01, 0.99))
def test_binomial_p_value_is_that_of_the_exact_test(errors, alpha):
    expected = binomtest(errors, 50, alpha, alternative="less").pvalue
    assert float(binomial_p_value(errors, 50, alpha)) == pytest.approx(expected, abs=1e-12)


def test_nothing_can_be_certified_without_rows_or_at_risk_zero():
    assert binomial_p_value([0, 0], [0, 10], [0.1, 0.0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (3, 0), (0, 4), (12, 9), (40, 40)])
def test_excess_p_value_inverts_its_two_bounds(worse, better):
    n, level = 400, 0.05
    upper = clopper_pearson_interval(worse, n, level=1 - level).high
    lower = clopper_pearson_interval(better, n, level=1 - level).low
    epsilon = upper - lower
    # At half the level on each side, an interval of level 1 - 0.05 has the two bounds for p = 0.05.
    assert float(excess_p_value(worse, better, n, epsilon)) == pytest.approx(level, rel=1e-4)


def test_excess_p_value_is_monotone():
    assert (np.diff(excess_p_value(np.arange(0, 60), 10, 500, 0.03)) >= 0).all()
    assert (np.diff(excess_p_value(20, np.arange(0, 60), 500, 0.03)) <= 1e-12).all()
    assert float(excess_p_value(400, 0, 400, 0.5)) == pytest.approx(1)


@pytest.mark.parametrize(("worse", "better"), [(0.05, 0.03), (0.02, 0.0), (0.3, 0.28)])
def test_excess_p_value_is_valid_at_the_edge(worse, better):
    counts = np.random.default_rng(1).multinomial(300, [worse, better, 1 - worse - better], size=4000)
    p_values = excess_p_value(counts[:, 0], counts[:, 1], 300, worse - better - 1e-9)
    for level in (0.01, 0.05, 0.2):
        assert (p_values <= level).mean() <= level + 3 * np.sqrt(level / 4000)


def test_certify_passes_on_what_rejections_free():
    assert certify([0.01, 0.01, 0.01], [0.2, 0.0, 0.0], 0.05).tolist() == [True, True, True]
    # Each has a third of delta; the last two fail alone, and pass with what the first frees.
    assert certify([0.01, 0.03, 0.05], [1 / 3] * 3, 0.051).tolist() == [True, True, True]
    assert certify([0.02, 0.03, 0.04], [1 / 3] * 3, 0.051).tolist() == [False, False, False]
    assert certify([], [], 0.05).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.5))
def test_certify_rejects_all_that_bonferroni_does(p_values, delta):
    shares = np.full(len(p_values), 1 / len(p_values))
    certified = certify(p_values, shares, delta)
    assert certified[np.array(p_values) <= delta / len(p_values) * (1 - 1e-9)].all()


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_certify_bounds_the_chance_of_one_false_rejection(correlation):
    rng = np.random.default_rng(2)
    common = rng.normal(size=(20_000, 1))
    noise = rng.normal(size=(20_000, 8))
    p_values = norm.cdf(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * noise)
    weights = [0.25, 0, 0, 0.5, 0, 0.25, 0, 0]
    wrong = [certify(row, weights, 0.1).any() for row in p_values]
    assert np.mean(wrong) <= 0.1 + 3 * np.sqrt(0.09 / 20_000)


@pytest.mark.parametrize("weights", [[0.6, 0.6], [-0.1, 1], [1]])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="expected shares of 1"):
        certify([0.1, 0.1], weights, 0.05)
