"""Whether a small model that has learned may replace the one before it. All functions are pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from dsplus_chains.schema import brief_repr, share

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_PROBABILITY = 1e-4
"""Smallest probability of a true label that counts. Below it, one row would decide."""
MOST_LOST = 0.01
"""Largest loss of accuracy over all rows."""
MOST_FALLEN = 0.1
"""Largest fall of the mean probability of a class's true label. A class that falls by 20 points falls by more."""
BEYOND_CHANCE = 1.65
"""By how many standard errors a class must fall at least. Of many classes with few rows, some fall by chance."""
MOST_BROKEN = 0.2
"""Largest fall of the share of a class's rows that are right."""
FEWEST_BROKEN = 3
"""Smallest number of rows by which the fall of a class's share may be told from chance."""
WORTH_KEEPING = 0.5
"""Classes on which the incumbent is right less often than this have nothing to lose."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What speaks for a candidate, on labelled rows that neither model had seen.

    Args:
        n: Number of rows.
        gain: Mean fall of the log loss, in nats.
        p_value: Chance of such a gain if the candidate is not better, by a one-sided paired t-test.
        level: Largest p-value that counts as better in this round.
        accuracy_before: Accuracy of the incumbent.
        accuracy_after: Accuracy of the candidate.
        harmed: Numbers of the classes that fall.
    """

    n: int
    gain: float
    p_value: float
    level: float
    accuracy_before: float
    accuracy_after: float
    harmed: tuple[int, ...]

    @property
    def change(self) -> str:
        """How the log loss changes, in words."""
        return f"rises by {-self.gain:.4f} nats" if self.gain < 0 else f"falls by {self.gain:.4f} nats"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against the candidate. Without a reason it may be promoted."""
        against = []
        if not self.p_value <= self.level:
            told = f"its log loss {self.change}, with p = {self.p_value:.3g} above {self.level:.3g}"
            against.append(f"it is not shown to be better: {told}")
        if self.accuracy_after < self.accuracy_before - MOST_LOST:
            told = f"from {share(self.accuracy_before)} to {share(self.accuracy_after)}"
            against.append(f"its accuracy falls {told}")
        if self.harmed:
            against.append(f"it does harm, by the number of classes that fall: {len(self.harmed)}")
        return tuple(against)


def spent_level(alpha: float, number: int) -> float:
    """The level of one of many looks at the same rows. All levels together are `alpha`, however many looks there are.

    Args:
        alpha: Chance that any candidate at all is taken for better though it is not.
        number: The number of the look, from 1.

    Example:
        >>> round(spent_level(0.05, 1), 4), round(sum(spent_level(0.05, n) for n in range(1, 100_000)), 4)
        (0.0304, 0.05)
    """
    return alpha * 6 / (np.pi * number) ** 2


def judge(before: Floats, after: Floats, targets: Integers, *, level: float) -> Judgement:
    """Compare two models on the same labelled rows, which neither had seen.

    Args:
        before: Log-probabilities of the incumbent, of shape [n, classes].
        after: Those of the candidate.
        targets: The class number of each row.
        level: Largest p-value that counts as better.

    Example:
        >>> targets = np.arange(40) % 2
        >>> torn, sure = np.full((40, 2), np.log(0.5)), np.log(np.where(np.eye(2)[targets] == 1, 0.9, 0.1))
        >>> judge(torn, sure, targets, level=0.03).reasons
        ()
        >>> judge(sure, sure, targets, level=0.03).reasons[0][:30]
        'it is not shown to be better: '
    """
    rows = np.arange(len(targets))
    least = np.log(LEAST_PROBABILITY)
    gains = np.maximum(after[rows, targets], least) - np.maximum(before[rows, targets], least)
    same = len(gains) < 2 or np.ptp(gains) == 0  # the test knows no spread of zero
    return Judgement(
        n=len(targets),
        gain=float(gains.mean()),
        p_value=float(gains.mean() <= 0) if same else float(ttest_1samp(gains, 0.0, alternative="greater").pvalue),
        level=level,
        accuracy_before=float((before.argmax(axis=1) == targets).mean()),
        accuracy_after=float((after.argmax(axis=1) == targets).mean()),
        harmed=tuple(np.flatnonzero(_harmed(before, after, targets)).tolist()),
    )


def _harmed(before: Floats, after: Floats, targets: Integers) -> NDArray[np.bool_]:
    """Whether each class falls: by the probability of its true label, or by the share of its rows that are right."""
    rows, n_classes = np.arange(len(targets)), before.shape[1]
    counts = np.bincount(targets, minlength=n_classes)

    def by_class(values: NDArray[Any]) -> Floats:
        return np.bincount(targets, weights=values, minlength=n_classes).astype(np.float64)

    held, holds = ((logs.argmax(axis=1) == targets).astype(np.float64) for logs in (before, after))
    falls = np.exp(before[rows, targets]) - np.exp(after[rows, targets])
    fallen = by_class(falls) / np.maximum(counts, 1)
    most = np.maximum(MOST_FALLEN, BEYOND_CHANCE * falls.std() / np.sqrt(np.maximum(counts, 1)))
    broken = by_class(held - holds)
    is_kept = (counts > 0) & (by_class(held) >= WORTH_KEEPING * counts)
    lost = (broken >= FEWEST_BROKEN) & (broken >= MOST_BROKEN * counts)
    result: NDArray[np.bool_] = is_kept & ((fallen > most) | lost)
    return result
