"""Choose among settings measured on the same rows. The cheapest is taken, unless a dearer one is truly better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from dsplus_chains.calibration.intervals import paired_difference_interval, sign_test

LEVEL = 0.95
"""If nothing is better than the cheapest setting, nothing dearer is taken with at least this probability."""

MOST_LOST = 0.02
"""The largest share of right answers that a cheaper setting may lose where this has to be shown."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How one setting did against another on the same rows.

    Args:
        better: Number of rows where only this setting was right.
        worse: Number of rows where only the other setting was right.
        p: Two-sided p-value of the exact sign test.
    """

    better: int
    worse: int
    p: float

    @classmethod
    def of(cls, right: ArrayLike, other_right: ArrayLike) -> Comparison:
        """Compare two settings, row by row.

        Args:
            right: Whether this setting was right, a flag a row.
            other_right: Whether the other setting was right, a flag a row.
        """
        first, second = np.asarray(right, dtype=np.bool_), np.asarray(other_right, dtype=np.bool_)
        better, worse = int((first & ~second).sum()), int((~first & second).sum())
        return cls(better=better, worse=worse, p=sign_test(better, worse))

    def is_better(self, *, tests: int) -> bool:
        """Whether this setting is better by more than chance, if it is one of several that might be.

        Args:
            tests: How many settings are compared.
        """
        return self.better > self.worse and self.p * tests <= 1 - LEVEL

    def may_lose(self, n: int, *, tests: int = 1) -> float:
        """The largest share of right answers that this setting may lose against the other, beyond chance.

        It is the lower end of a one-sided score interval at about 95 %, Bonferroni-corrected. The interval is
        asymptotic. Without any row that differs it is above 0, and falls with the number of rows.

        Source: Tango (Statistics in Medicine 1998), section 3, which tests that one setting is no worse than another.

        Args:
            n: Number of all rows that were compared.
            tests: How many settings are compared.

        Example:
            >>> same = Comparison(better=0, worse=0, p=1.0)
            >>> round(same.may_lose(100), 4), round(same.may_lose(1000), 4)
            (0.0263, 0.0027)
        """
        return -paired_difference_interval(self.better, self.worse, n, level=1 - 2 * (1 - LEVEL) / tests).low


def cheapest_unless_better(costs: Sequence[float], right: Sequence[ArrayLike]) -> int:
    """The setting to take.

    The settings are tried from the cheapest up. A setting replaces the current one only if it is better by more than
    chance on these rows. The exact sign test decides at 5 %, divided by the number of dearer settings (Bonferroni). The
    division is needed because the best of many looks better than it is. With few rows, the cheapest setting is mostly
    taken.

    Args:
        costs: Cost of each setting. Of equals, the earlier one is the cheaper.
        right: For each setting, whether it was right, a flag a row.

    Returns:
        Its number.

    Example:
        >>> none, soft = [True] * 50 + [False] * 10, [True] * 60
        >>> cheapest_unless_better([1.0, 1.2], [none, soft]), cheapest_unless_better([1.0, 1.2], [none, none[::-1]])
        (1, 0)
    """
    flags: list[NDArray[np.bool_]] = [np.asarray(column, dtype=np.bool_) for column in right]
    order = sorted(range(len(costs)), key=lambda number: costs[number])
    held = order[0]
    for number in order[1:]:
        if Comparison.of(flags[number], flags[held]).is_better(tests=len(costs) - 1):
            held = number
    return held


def fewest_to_compare(most_lost: float = MOST_LOST, *, tests: int = 1) -> int:
    """The number of rows without which no setting can be shown to lose at most this share of right answers.

    Args:
        most_lost: The share.
        tests: How many settings are compared. See `Comparison.may_lose`.

    Example:
        >>> fewest_to_compare(0.02), fewest_to_compare(0.005), fewest_to_compare(0.02, tests=6)
        (133, 539, 281)
    """
    z = float(norm.ppf(1 - (1 - LEVEL) / tests))
    return math.ceil(z * z * (1 - most_lost) / most_lost)
