from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import erfinv
from scipy.stats import beta, binom

from dsplus_chains.calibration.intervals import (
    clopper_pearson_interval,
    paired_difference_interval,
    sign_test,
    wilson_interval,
)

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
PAIRS = st.integers(1, 200).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, n - a), st.just(n)))
)


@given(COUNTS, st.floats(0.5, 0.99))
def test_wilson_by_its_formula(counts, level):
    successes, n = counts
    z = np.sqrt(2) * erfinv(level)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    interval = wilson_interval(successes, n, level=level)
    assert interval.low == pytest.approx(max(middle - half, 0), abs=1e-9)
    assert interval.high == pytest.approx(min(middle + half, 1), abs=1e-9)
    assert share in interval or min(share, 1 - share) == 0


def test_clopper_pearson_by_its_formula_and_inside_it_wilson():
    interval = clopper_pearson_interval(3, 20)
    assert interval.low == pytest.approx(beta.ppf(0.025, 3, 18))
    assert interval.high == pytest.approx(beta.ppf(0.975, 4, 17))


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_clopper_pearson_covers_at_least_at_its_level(share):
    n = 40
    covered = [share in clopper_pearson_interval(k, n) for k in range(n + 1)]
    assert binom.pmf(np.arange(n + 1), n, share)[covered].sum() >= 0.95


def test_no_rows_say_nothing():
    for interval in (wilson_interval(0, 0), clopper_pearson_interval(0, 0)):
        assert (interval.low, interval.high) == (0, 1)
    assert paired_difference_interval(0, 0, 0).low == -1
    assert sign_test(0, 0) == 1


def test_sign_test_by_hand():
    assert sign_test(5, 0) == pytest.approx(2 / 2**5)
    assert sign_test(12, 16) == pytest.approx(sign_test(16, 12)) == pytest.approx(0.5716, abs=1e-3)


@given(PAIRS)
def test_paired_interval_holds_the_difference_and_mirrors(pair):
    wins, losses, n = pair
    interval, mirror = paired_difference_interval(wins, losses, n), paired_difference_interval(losses, wins, n)
    assert -1 <= interval.low <= (wins - losses) / n <= interval.high <= 1
    assert interval.low == pytest.approx(-mirror.high, abs=1e-8)


@pytest.mark.parametrize(("wins", "losses", "n"), [(0, 1, 44), (12, 16, 500), (9, 2, 30), (5, 0, 20)])
def test_paired_interval_ends_where_the_score_test_just_rejects(wins, losses, n):
    # The score statistic, its nuisance share found by maximising the likelihood instead of by Tango's formula.
    def statistic(difference: float) -> float:
        def loss(share: float) -> float:
            first, second = share + difference, share
            parts = ((wins, first), (losses, second), (n - wins - losses, 1 - first - second))
            return -sum(count * np.log(max(part, 1e-300)) for count, part in parts if count)

        low, high = max(0.0, -difference), (1 - difference) / 2
        share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        return (wins - losses - n * difference) / np.sqrt(n * (2 * share + difference - difference**2))

    interval = paired_difference_interval(wins, losses, n)
    assert statistic(interval.low) == pytest.approx(1.96, abs=2e-3)
    assert statistic(interval.high) == pytest.approx(-1.96, abs=2e-3)


def test_paired_interval_shrinks_with_rows_and_is_wald_in_the_limit():
    n, wins, losses = 100_000, 4_000, 3_000
    interval = paired_difference_interval(wins, losses, n)
    half = 1.96 * np.sqrt((wins + losses) / n - ((wins - losses) / n) ** 2) / np.sqrt(n)
    assert interval.low == pytest.approx(0.01 - half, abs=1e-5)
    assert interval.high == pytest.approx(0.01 + half, abs=1e-5)


def test_paired_interval_covers_near_its_level():
    rng = np.random.default_rng(0)
    shares, n = [0.06, 0.02, 0.92], 150
    counts = rng.multinomial(n, shares, size=600)
    covered = [0.04 in paired_difference_interval(int(w), int(v), n) for w, v, _ in counts]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("call", [lambda: wilson_interval(3, 2), lambda: paired_difference_interval(3, 3, 5)])
def test_impossible_counts_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_impossible_levels_are_refused():
    with pytest.raises(ValueError, match="level=95"):
        wilson_interval(1, 2, level=95)
