"""An audit of what the small model answers alone: which of it a person looks at, and what that says of all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from dsplus_chains.calibration.intervals import check_level
from dsplus_chains.schema import InvalidInputError, column_of, is_number, shown, what_came
from dsplus_chains.tuning.tuned import Estimate

Floats = NDArray[np.float64]

SUREST = 0.99
"""A higher confidence counts as this one. Else what a model is wrongly sure of would never be looked at."""


def audit_weights(confidences: ArrayLike, share: float) -> Floats:
    """The probability with which each kept input goes into an audit.

    It is in proportion to sqrt(p (1 - p)), where p is the confidence, and at most 1. All together are the share.
    Choose each input by itself: ``chosen = numpy.random.default_rng(0).random(n) < weights``. Keep the weights of the
    chosen ones for `audited_error`.

    Args:
        confidences: The confidences of the kept inputs.
        share: The share of them that can be looked at, in (0, 1].

    Raises:
        InvalidInputError: A confidence or the share is out of range.

    Source: the allocation is Neyman's, "On the two different aspects of the representative method" (JRSS 1934). The
    spread of an error of chance 1 - p is sqrt(p (1 - p)).

    Example:
        >>> audit_weights([0.5, 0.8, 0.99, 1.0], 0.5).round(2).tolist()
        [0.91, 0.73, 0.18, 0.18]
    """
    sure = np.asarray(confidences, dtype=np.float64)
    if not (is_number(share) and 0 < share <= 1) or not ((sure >= 0) & (sure <= 1)).all():
        msg = (
            f"Got share={shown(share)} and {len(sure)} confidences but expected a share in (0, 1] and confidences in "
            "[0, 1]"
        )
        raise InvalidInputError(msg)
    held = np.clip(sure, 1 - SUREST, SUREST)
    spread = np.sqrt(held * (1 - held))
    chances: Floats = np.zeros(len(sure))
    is_open = np.ones(len(sure), dtype=bool)
    while is_open.any():
        left = share * len(sure) - (~is_open).sum()
        chances[is_open] = left * spread[is_open] / spread[is_open].sum()
        if not (over := is_open & (chances > 1)).any():
            break
        chances[over], is_open = 1.0, is_open & ~over
    return np.minimum(chances, 1.0)


def audited_error(wrong: ArrayLike, probabilities_of_selection: ArrayLike, n: int, *, level: float = 0.95) -> Estimate:
    """The share of all kept inputs that are wrong, by those that were looked at.

    Each looked-at input counts by one over its probability (Horvitz-Thompson). So the estimate is right on average, be
    the confidence right or not. The interval is that of Clopper and Pearson for as many rows as the audit is worth. It
    is a little wide rather than too narrow.

    Args:
        wrong: Whether each looked-at input was wrong.
        probabilities_of_selection: The probability with which it was chosen, as `audit_weights` gave it.
        n: Number of kept inputs that they were chosen from.
        level: Level of the interval.

    Raises:
        InvalidInputError: Lengths differ, a probability is not in (0, 1], or there are more rows than inputs. Or it is
            not known of a row whether it was wrong.
        ValueError: The level is not in (0, 1).

    Source: Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe" (JASA 1952);
    Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data" (Survey Methodology 1998). The number of rows is the smaller one of theirs and Kish's.

    Example:
        >>> found = audited_error([True, False, False, False], [0.5, 0.1, 0.1, 0.1], 40)
        >>> found.value, found.n
        (0.05, 4)
    """
    errs, chances = _truths(wrong), np.asarray(probabilities_of_selection, dtype=np.float64)
    check_level(level)
    if len(errs) != len(chances) or len(errs) > n or not ((chances > 0) & (chances <= 1)).all():
        msg = (
            f"Got {len(errs)} rows, {len(chances)} probabilities and n={n} but expected one probability in (0, 1] for "
            "each row, and at most n rows"
        )
        raise InvalidInputError(msg)
    if not len(errs):
        return Estimate(value=None, low=0.0, high=1.0, n=0, level=level)
    value = min(float((errs / chances).sum() / n), 1.0)
    low, high = _interval(value, _worth(value, errs, chances, n), level)
    return Estimate(value=value, low=low, high=high, n=len(errs), level=level)


def _truths(wrong: ArrayLike) -> NDArray[np.bool_]:
    """Truth values, or 0 and 1 for them. A gap or a word would count as one of both.

    Raises:
        InvalidInputError: There is something else.
    """
    values = column_of(wrong, "looked-at inputs")
    if strange := [value for value in values if not isinstance(value, (bool, np.bool_)) and not _is_sign(value)]:
        msg = f"Got {what_came(strange[0])} but expected True or False, whether each looked-at input was wrong"
        raise InvalidInputError(msg)
    return np.array(values, dtype=bool)


def _is_sign(value: Any) -> bool:
    return is_number(value) and value in {0, 1}


def _worth(value: float, wrong: NDArray[np.bool_], chances: Floats, n: int) -> float:
    """The number of rows of a plain sample that tells as much. It is infinite if every input was looked at."""
    if len(wrong) == n:
        return np.inf
    each = (1 - chances) / chances**2 / n**2  # what a row that is wrong adds to the variance
    kish = 1 / each.sum() if each.sum() else len(wrong)  # those that were certain to be chosen tell of no others
    variance = each[wrong].sum()
    return float(min(kish, value * (1 - value) / variance if variance and 0 < value < 1 else np.inf))


def _interval(value: float, rows: float, level: float) -> tuple[float, float]:
    """The interval of Clopper and Pearson, for a number of rows that need not be whole."""
    if not np.isfinite(rows):
        return value, value
    tail, wrong = (1 - level) / 2, value * rows
    low = 0.0 if value == 0 else float(beta.ppf(tail, wrong, rows - wrong + 1))
    high = 1.0 if value == 1 else float(beta.ppf(1 - tail, wrong + 1, rows - wrong))
    return low, high
