"""Confidence intervals and tests for shares and paired differences, from scipy where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign, inf, sqrt
from typing import Literal

from scipy.optimize import brentq
from scipy.stats import binomtest, norm


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, ends included.

    Args:
        low: Lower end.
        high: Upper end.
        level: Confidence level in (0, 1).
    """

    low: float
    high: float
    level: float = 0.95

    def __contains__(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        return self.low <= value <= self.high


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval for a share. Without rows it is [0, 1].

    Source: Wilson (JASA 1927); recommended by Brown, Cai, DasGupta, "Interval Estimation for a Binomial Proportion"
    (Statistical Science 2001), section 4.

    Example:
        >>> interval = wilson_interval(8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    return _share_interval(successes, n, level, "wilson")


def clopper_pearson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Exact interval for a share. It holds at least at its level for every n. Without rows it is [0, 1].

    Source: Clopper and Pearson (Biometrika 1934).
    """
    return _share_interval(successes, n, level, "exact")


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of the exact sign test (McNemar's exact test). It asks if wins and losses are equally likely.

    Args:
        wins: Number of rows where only the first of two systems was right.
        losses: Number of rows where only the second was right.

    Example:
        >>> round(sign_test(12, 16), 2)
        0.57
    """
    if wins + losses == 0:
        return 1.0
    return float(binomtest(wins, wins + losses, 0.5).pvalue)


def paired_difference_interval(wins: int, losses: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval for the difference of two shares on the same rows, (wins - losses) / n.

    Source: Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design" (Statistics in Medicine 1998), section 3. It holds up where few rows differ. Without rows it is [-1, 1].

    Args:
        wins: Number of rows where only the first of two systems was right.
        losses: Number of rows where only the second was right.
        n: Number of all rows.
        level: Confidence level in (0, 1).

    Raises:
        ValueError: A count is negative, wins and losses exceed n, or the level is not in (0, 1).

    Example:
        >>> interval = paired_difference_interval(12, 16, 500)
        >>> round(interval.low, 3), round(interval.high, 3)
        (-0.03, 0.014)
    """
    check_level(level)
    if min(wins, losses, n) < 0 or wins + losses > n:
        msg = f"Got wins={wins}, losses={losses}, n={n} but expected counts with wins + losses <= n"
        raise ValueError(msg)
    if n == 0:
        return Interval(low=-1.0, high=1.0, level=level)
    z, middle = float(norm.ppf((1 + level) / 2)), (wins - losses) / n

    def excess(difference: float, bound: float) -> float:
        return _tango_statistic(wins, losses, n, difference) - bound

    # The statistic falls from +inf to -inf as the difference rises from -1 to 1.
    low = -1.0 if middle == -1 else float(brentq(excess, -1 + 1e-12, middle, args=(z,)))
    high = 1.0 if middle == 1 else float(brentq(excess, middle, 1 - 1e-12, args=(-z,)))
    return Interval(low=low, high=high, level=level)


def _share_interval(successes: int, n: int, level: float, method: Literal["wilson", "exact"]) -> Interval:
    check_level(level)
    if not 0 <= successes <= n:
        msg = f"Got {successes} successes in {n} rows but expected from 0 to {n}"
        raise ValueError(msg)
    if n == 0:
        return Interval(low=0.0, high=1.0, level=level)
    found = binomtest(int(successes), int(n)).proportion_ci(level, method=method)
    return Interval(low=float(found.low), high=float(found.high), level=level)


def _tango_statistic(wins: int, losses: int, n: int, difference: float) -> float:
    a = 2 * n
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    nuisance = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * nuisance + difference * (1 - difference))
    gap = wins - losses - n * difference
    if variance <= 0:
        return 0.0 if gap == 0 else copysign(inf, gap)
    return gap / sqrt(variance)


def check_level(level: float) -> None:
    """Refuse what is no level of an interval.

    Raises:
        ValueError: It is not in (0, 1).
    """
    if not 0 < level < 1:
        msg = f"Got level={level} but expected a number between 0 and 1, such as 0.95"
        raise ValueError(msg)
