"""What has changed between two times, and whether chance explains it. All functions are pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import fisher_exact, t, ttest_ind_from_stats

from dsplus_chains.calibration.intervals import check_level
from dsplus_chains.schema import brief_repr
from dsplus_chains.tuning.tuned import Estimate

Floats = NDArray[np.float64]
Alternative: TypeAlias = Literal["two-sided", "greater"]

FEWEST_VALUES = 20
"""With fewer values, a t-test of numbers that are not normal says nothing."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure now and before.

    Args:
        recent: The figure of the recent rows, with its interval.
        before: The figure of the rows before them.
        p_value: Chance of such a change if nothing has changed. 1 where there are too few rows to tell.
    """

    recent: Estimate
    before: Estimate
    p_value: float

    @property
    def rises(self) -> bool:
        """Whether the figure is higher now. False where one of both is not known."""
        return self.recent.value is not None and self.before.value is not None and self.recent.value > self.before.value


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What true labels say of the confidence.

    Args:
        accuracy: How often the small model was right.
        confidence: Its mean confidence on the same rows. None without rows.
        low: Lower end of the accuracies that this confidence lets expect.
        high: Upper end.
        p_value: Chance of an accuracy as far from the expected one, if the confidence is right. 1 without rows.
    """

    accuracy: Estimate
    confidence: float | None
    low: float
    high: float
    p_value: float


def change_of_share(recent: ArrayLike, before: ArrayLike, *, alternative: Alternative = "two-sided") -> Change:
    """Compare how often something is the case, by Wilson intervals and Fisher's exact test.

    Args:
        recent: Whether it is the case, for each recent row.
        before: The same for each row before.
        alternative: With "greater", only a rise counts.

    Example:
        >>> found = change_of_share([True] * 30 + [False] * 70, [True] * 10 + [False] * 90)
        >>> found.recent.value, found.before.value, round(found.p_value, 4)
        (0.3, 0.1, 0.0007)
    """
    now, then = np.asarray(recent, dtype=bool), np.asarray(before, dtype=bool)
    table = [[int(part.sum()), int((~part).sum())] for part in (now, then)]
    p_value = float(fisher_exact(table, alternative=alternative)[1]) if len(now) and len(then) else 1.0
    recent_share, share_before = (Estimate.of(*(int(part.sum()), len(part))) for part in (now, then))
    return Change(recent=recent_share, before=share_before, p_value=min(p_value, 1.0))


def change_of_mean(recent: ArrayLike, before: ArrayLike) -> Change:
    """Compare means of probabilities, by Student's intervals and Welch's test.

    Args:
        recent: The probability of each recent row.
        before: The same for each row before.

    Source: Welch, "The generalization of Student's problem when several different population variances are involved"
    (Biometrika 1947).

    Example:
        >>> found = change_of_mean([0.5, 0.6] * 20, [0.8, 0.9] * 20)
        >>> round(found.recent.value, 2), round(found.before.value, 2), found.p_value < 1e-9
        (0.55, 0.85, True)
    """
    now, then = np.asarray(recent, dtype=np.float64), np.asarray(before, dtype=np.float64)
    p_value = 1.0
    if min(len(now), len(then)) >= FEWEST_VALUES:
        means, spreads = (now.mean(), then.mean()), (_spread(now), _spread(then))
        if any(spreads):
            told = ttest_ind_from_stats(
                means[0], spreads[0], len(now), means[1], spreads[1], len(then), equal_var=False
            )
            p_value = float(told.pvalue)
        else:  # the test knows no spread of zero
            p_value = float(np.isclose(*means))
    return Change(recent=_mean(now), before=_mean(then), p_value=p_value)


def check_calibration(confidences: ArrayLike, right: ArrayLike, *, level: float = 0.95) -> Calibration:
    """Compare how often a model was right with its confidence.

    If each confidence is the chance to be right, the number of right answers has a Poisson binomial distribution. Rows
    may be chosen by their confidence, as for an audit. They may not be chosen by anything else that tells of errors.

    Args:
        confidences: The confidence of each row.
        right: Whether the model was right there.
        level: Level of the interval.

    Raises:
        ValueError: The level is not in (0, 1).

    Example:
        >>> found = check_calibration([0.9] * 50, [True] * 35 + [False] * 15)
        >>> found.accuracy.value, round(found.low, 2), round(found.high, 2), found.p_value < 0.001
        (0.7, 0.82, 0.98, True)
    """
    check_level(level)
    sure, told = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=bool)
    n, n_right = len(told), int(told.sum())
    accuracy = Estimate.of(n_right, n)
    if not n:
        return Calibration(accuracy=accuracy, confidence=None, low=0.0, high=1.0, p_value=1.0)
    chances = _chances_of_counts(sure)
    at_most, at_least = chances.cumsum(), chances[::-1].cumsum()[::-1]
    tail = (1 - level) / 2
    return Calibration(
        accuracy=accuracy,
        confidence=float(sure.mean()),
        low=int(np.flatnonzero(at_most > tail)[0]) / n,
        high=int(np.flatnonzero(at_least > tail)[-1]) / n,
        p_value=min(1.0, 2 * float(min(at_most[n_right], at_least[n_right]))),
    )


def _chances_of_counts(probabilities: Floats) -> Floats:
    """The chance of 0, 1, …, n events of these probabilities. scipy has it from 1.15 on."""
    chances: Floats = np.ones(1)
    for probability in probabilities:
        chances = np.convolve(chances, [1 - probability, probability])
    return chances


def _mean(values: Floats, *, level: float = 0.95) -> Estimate:
    """A mean with its interval. One value alone says nothing of others."""
    n = len(values)
    if not n:
        return Estimate.of(0, 0)
    middle = float(values.mean())
    around = 1.0 if n == 1 else float(t.ppf((1 + level) / 2, n - 1)) * _spread(values) / n**0.5
    return Estimate(value=middle, low=max(middle - around, 0.0), high=min(middle + around, 1.0), n=n, level=level)


def _spread(values: Floats) -> float:
    """The standard deviation. Rounding is none."""
    return 0.0 if np.allclose(values, values[0], rtol=0, atol=1e-9) else float(values.std(ddof=1))
