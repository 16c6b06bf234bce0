"""Risk control: which operating points have a true risk of at most alpha, with probability at least 1 - delta.

Source: Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
Control" (arXiv 2110.01052; Annals of Applied Statistics 2025). Each threshold stands for the hypothesis "its risk is
above alpha". A p-value that holds for every sample size tests it; a procedure that bounds the chance of even one
false rejection picks the thresholds that are certified, so any choice among those is safe. Rows must be independent
draws from the distribution met later, and the thresholds must be fixed before the rows are seen.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc
from scipy.stats import binom

Floats = NDArray[np.float64]


def binomial_p_value(errors: ArrayLike, n: ArrayLike, alpha: float) -> Floats:
    """Exact p-value of "the risk is above alpha": the chance of so few errors in n rows at a risk of alpha.

    For losses of 0 or 1 nothing valid is tighter (arXiv 2110.01052, section 2.3). For a share of rows picked by
    their confidence, n is how many were picked: given the picks, the errors among them are binomial.

    Args:
        errors: Errors at each threshold.
        n: Rows they are counted among; where there are none the p-value is 1.
        alpha: Bound on the risk, in [0, 1).

    Example:
        >>> binomial_p_value([0, 3], 100, 0.05).round(3).tolist()
        [0.006, 0.258]
    """
    return np.asarray(binom.cdf(np.asarray(errors), np.asarray(n), alpha), dtype=np.float64)


def excess_p_value(worse: ArrayLike, better: ArrayLike, n: int, epsilon: float) -> Floats:
    """P-value of "the chain errs on more than epsilon more of all inputs than the large model does".

    The loss is 1 where the chain alone is wrong, -1 where the large model alone is, else 0, so the binomial does not
    apply. The p-value is the smallest level at which the Clopper-Pearson upper bound of the share `worse` less the
    lower bound of the share `better` is at most epsilon, each bound at half the level (a union bound, valid for
    every n). Unlike Hoeffding's and Bentkus' bounds it is tight where few rows differ, as in a chain that sends most
    of what is hard to the very model it is compared with.

    Args:
        worse: Rows at each threshold where the chain is wrong and the large model right.
        better: Rows where the chain is right and the large model wrong.
        n: All rows.
        epsilon: Bound on the excess, in [0, 1).

    Example:
        >>> excess_p_value([0, 15], [0, 15], 1000, 0.02).round(4).tolist()
        [0.0, 0.0146]
    """
    more, less = np.broadcast_arrays(np.asarray(worse, dtype=np.float64), np.asarray(better, dtype=np.float64))

    def half_level(upper: Floats) -> tuple[Floats, Floats]:
        """At which half levels `upper` bounds the share `worse`, and `upper - epsilon` the share `better`."""
        share = upper - epsilon
        second = np.where(share > 0, np.where(less > 0, bdtrc(less - 1, n, share), 1.0), 0.0)
        return np.asarray(bdtr(more, n, upper), dtype=np.float64), np.asarray(second, dtype=np.float64)

    # The first falls and the second rises in the place where the bounds meet: the best place is where they cross.
    low, high = np.full(more.shape, float(epsilon)), np.ones(more.shape)
    for _ in range(40):
        middle = (low + high) / 2
        first, second = half_level(middle)
        low, high = np.where(first > second, middle, low), np.where(first > second, high, middle)
    best = np.minimum(np.maximum(*half_level(low)), np.maximum(*half_level(high)))
    return cast("Floats", np.minimum(2 * best, 1.0))


def certify(p_values: ArrayLike, weights: ArrayLike, delta: float) -> NDArray[np.bool_]:
    """Which hypotheses to reject so that the chance of even one false rejection is at most delta.

    The fallback procedure: hypotheses are tested in an order fixed beforehand, each at its own share of delta plus
    all that the rejections right before it have freed. All weight on the first gives fixed-sequence testing; equal
    weights give more than Bonferroni does. It holds under any dependence between the p-values.

    Source: Wiens and Dmitrienko, "The Fallback Procedure for Evaluating a Single Family of Hypotheses" (Journal of
    Biopharmaceutical Statistics 2005); several starting points in Learn-then-Test: arXiv 2110.01052, section 2.2.

    Args:
        p_values: In the order of testing.
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
