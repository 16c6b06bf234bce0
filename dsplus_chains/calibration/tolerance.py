"""How likely a predicted number is right within a tolerance, from residuals on rows that the model had not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.schema import InvalidInputError

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorSpread:
    """The errors of a regressor, in terms of how difficult each input is.

    The truth of an input is taken to lie about the regressor's value as those of other inputs lay about theirs. Where
    an input is more difficult, it lies farther away. Where numbers are whole or bounded, so is each such truth.

    Args:
        residuals: The errors (truth - value) / difficulty on rows that the regressor had not seen, rising.
        whole: Whether all numbers are whole.
        low: The smallest number there may be.
        high: The largest number there may be.

    Source: normalised conformal prediction (Papadopoulos et al. 2008), read as a distribution (Vovk et al. 2017,
    "Nonparametric predictive distributions based on conformal prediction", arXiv 1604.04879).

    Example:
        >>> spread = ErrorSpread.fit(truths=[1, 2, 3, 4] * 5, values=[1.1, 2.5, 2.8, 4.0] * 5, difficulties=[1] * 20)
        >>> values, confidences = spread.apply([3.0, 3.0], [1.0, 10.0], tolerance=0.25)
        >>> values.tolist(), confidences.round(2).tolist()
        ([3.0, 3.0], [0.71, 0.24])
    """

    residuals: Floats
    whole: bool = False
    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def fit(cls, truths: ArrayLike, values: ArrayLike, difficulties: ArrayLike) -> Self:
        """The spread of errors on rows that the regressor had not seen.

        Args:
            truths: The true numbers.
            values: What the regressor says.
            difficulties: How difficult each row is, above 0. It comes from a model that had not seen the row either.

        Raises:
            InvalidInputError: There is no row, or a difficulty is not above 0.
        """
        true, said, difficult = (np.asarray(column, dtype=np.float64) for column in (truths, values, difficulties))
        if not len(true) or not (difficult > 0).all():
            msg = (
                f"Got {len(true)} rows and difficulties from {difficult.min(initial=np.inf)} but expected some above 0"
            )
            raise InvalidInputError(msg)
        return cls(residuals=np.sort((true - said) / difficult))

    def bounded(self, *, whole: bool, low: float, high: float) -> Self:
        """The same spread, for numbers that are also whole, or within these bounds too."""
        return replace(self, whole=self.whole or whole, low=max(self.low, low), high=min(self.high, high))

    def apply(self, values: ArrayLike, difficulties: ArrayLike, *, tolerance: float) -> tuple[Floats, Floats]:
        """The numbers to answer, and the probability that each is right within the tolerance.

        Args:
            values: What the regressor says.
            difficulties: How difficult each input is.
            tolerance: Largest error that counts as right.

        Returns:
            The values, rounded and bounded, and their confidences. A confidence is never 1, since a further input may
            be worse than all known ones.
        """
        said = np.asarray(values, dtype=np.float64)
        answers = self._allowed(said)
        possible = self._allowed(said[:, None] + np.asarray(difficulties, dtype=np.float64)[:, None] * self.residuals)
        near = (np.abs(possible - answers[:, None]) <= tolerance + _ROUNDING).sum(axis=1)
        return answers, near / (len(self.residuals) + 1)

    def _allowed(self, numbers: Floats) -> Floats:
        bounded = np.clip(numbers, self.low, self.high)
        return np.clip(np.rint(bounded), np.ceil(self.low), np.floor(self.high)) if self.whole else bounded
