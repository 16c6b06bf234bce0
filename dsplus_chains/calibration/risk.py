"""Risk control: which operating points have a true risk of at most alpha, with probability at least 1 - delta.

Source: Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
Control" (arXiv 2110.01052; Annals of Applied Statistics 2025).

Each threshold stands for the hypothesis "its risk is above alpha". A p-value tests it, and holds for every sample size.
A procedure then picks the thresholds that are certified. It bounds the chance of even one false rejection, so any
choice among them is safe. Rows must be independent draws from the distribution met later. The thresholds must be fixed
before the rows are seen.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc
from scipy.stats import binom

Floats = NDArray[np.float64]


def binomial_p_value(errors: ArrayLike, n: ArrayLike, alpha: float) -> Floats:
    """Exact p-value of "the risk is above alpha". It is the chance of so few errors in n rows at a risk of alpha.

    For losses of 0 or 1 nothing valid is tighter (arXiv 2110.01052, section 2.3). For a share of rows picked by their
    confidence, n is the number picked. Given the picks, the errors among them are binomial.

    Args:
        errors: Errors at each threshold.
        n: Number of rows they are counted among. Without rows the p-value is 1.
        alpha: Bound on the risk, in [0, 1).

    Example:
        >>> binomial_p_value([0, 3], 100, 0.05).round(3).tolist()
        [0.006, 0.258]
    """
    return np.asarray(binom.cdf(np.asarray(errors), np.asarray(n), alpha), dtype=np.float64)


def excess_p_value(worse: ArrayLike, better: ArrayLike, n: int, epsilon: float) -> Floats:
    """P-value of "the chain errs on more than epsilon more of all inputs than the large model does".

    The loss is 1 where only the chain is wrong, -1 where only the large model is wrong, and else 0. So the binomial
    p-value does not apply. Instead, two Clopper-Pearson bounds are compared, each at half the level. One is the upper
    bound of the share `worse`, the other is the lower bound of the share `better`. The p-value is the smallest level at
    which their difference is at most epsilon. This is a union bound, valid for every n. Hoeffding's and Bentkus' bounds
    are less tight where few rows differ. That is the case in a chain that sends most hard inputs to the very model it
    is compared with.

    Args:
        worse: Rows at each threshold where the chain is wrong and the large model right.
        better: Rows where the chain is right and the large model wrong.
        n: Number of all rows.
        epsilon: Bound on the excess, in [0, 1).

    Example:
        >>> excess_p_value([0, 15], [0, 15], 1000, 0.02).round(4).tolist()
        [0.0, 0.0146]
    """
    more, less = np.broadcast_arrays(np.asarray(worse, dtype=np.float64), np.asarray(better, dtype=np.float64))

    def half_level(upper: Floats) -> tuple[Floats, Floats]:
        """Half levels at which `upper` bounds the share `worse`, and `upper - epsilon` bounds the share `better`."""
        share = upper - epsilon
        second = np.where(share > 0, np.where(less > 0, bdtrc(less - 1, n, share), 1.0), 0.0)
        return np.asarray(bdtr(more, n, upper), dtype=np.float64), np.asarray(second, dtype=np.float64)

    # As the place where the bounds meet rises, the first falls and the second rises. It is best where they cross.
    low, high = np.full(more.shape, float(epsilon)), np.ones(more.shape)
    for _ in range(40):
        middle = (low + high) / 2
        first, second = half_level(middle)
        low, high = np.where(first > second, middle, low), np.where(first > second, high, middle)
    best = np.minimum(np.maximum(*half_level(low)), np.maximum(*half_level(high)))
    return cast("Floats", np.minimum(2 * best, 1.0))


def certify(p_values: ArrayLike, weights: ArrayLike, delta: float) -> NDArray[np.bool_]:
    """Which hypotheses to reject so that the chance of even one false rejection is at most delta.

    This is the fallback procedure. It tests the hypotheses in an order fixed beforehand. Each has its own share of
    delta, plus all that the rejections right before it have freed. All weight on the first hypothesis gives
    fixed-sequence testing. Equal weights reject more than Bonferroni does. The bound holds under any dependence between
    the p-values.

    Source: Wiens and Dmitrienko, "The Fallback Procedure for Evaluating a Single Family of Hypotheses" (Journal of
    Biopharmaceutical Statistics 2005). For several starting points in Learn-then-Test see arXiv 2110.01052, section
    2.2.

    Args:
        p_values: P-values in the order of testing.
        weights: Shares of delta, summing to at most 1.
        delta: Bound on the chance of a false rejection, in (0, 1).

    Raises:
        ValueError: The lengths differ, or the weights are negative or sum to more than 1.

    Example:
        >>> certify([0.04, 0.04, 0.2], [1, 0, 0], 0.05).tolist()
        [True, True, False]
        >>> certify([0.2, 0.02, 0.04], [0.5, 0.5, 0], 0.05).tolist()
        [False, True, False]
    """
    tests, shares = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if tests.shape != shares.shape or (shares < 0).any() or shares.sum() > 1 + 1e-9:
        msg = f"Got {shares.size} weights summing to {shares.sum()} for {tests.size} tests but expected shares of 1"
        raise ValueError(msg)
    certified = np.zeros(tests.shape, dtype=np.bool_)
    budget = 0.0
    for index, (p_value, share) in enumerate(zip(tests, shares, strict=True)):
        budget += share * delta
        certified[index] = budget > 0 and p_value <= budget
        if not certified[index]:
            budget = 0.0
    return certified
