"""How sure one may be that several answers are all right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.calibration.calibration_maps import VectorCalibration, calibration_from_dict
from dsplus_chains.calibration.calibrators import fit_vector_scaling
from dsplus_chains.schema import shown


@dataclass(frozen=True, kw_only=True)
class JointConfidence:
    """The probability that all answers about a text are right, from the confidence of each.

    The product of the confidences would be that probability if errors were independent. They are not: a text that one
    model misreads is hard for the others too. So the product is calibrated. Its logarithm, and
    that of what is left to 1, each get a weight and a bias.

    Args:
        curve: The calibration of the product.

    Source: vector scaling, Guo et al. (ICML 2017), section 4.2. That it is put on a product is ours.

    Example:
        >>> confidences = [[0.9, 0.9]] * 90 + [[0.6, 0.5]] * 10
        >>> joint = JointConfidence.fit(confidences, [True] * 90 + [False] * 10)
        >>> bool(joint.apply([[0.9, 0.9]])[0] > 0.9 > 0.5 > joint.apply([[0.6, 0.5]])[0])
        True
    """

    curve: VectorCalibration

    @classmethod
    def fit(cls, confidences: ArrayLike, all_right: ArrayLike) -> Self:
        """Fit it on rows that the models had not seen, and whose answers are all known.

        Args:
            confidences: The confidence of each answer, of shape (n_rows, n_answers).
            all_right: Whether all answers of a row are right.

        Raises:
            ValueError: The shapes do not match, there is no row, or a confidence is outside [0, 1].
        """
        right = np.asarray(all_right, dtype=bool)
        return cls(curve=fit_vector_scaling(_product(confidences), (~right).astype(np.intp)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.curve.to_dict()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote.

        Raises:
            ValueError: It is something else.

        Example:
            >>> joint = JointConfidence.fit([[0.9], [0.6]], [True, False])
            >>> JointConfidence.from_dict(joint.to_dict()) == joint
            True
        """
        curve = calibration_from_dict(data)
        if not isinstance(curve, VectorCalibration) or not np.isfinite([*curve.weights, *curve.biases]).all():
            msg = f"Got {shown(data)} but expected what to_dict() writes"
            raise ValueError(msg)
        if len(curve.weights) != 2:
            msg = f"Got {len(curve.weights)} weights but expected 2, for the product and what is left to 1"
            raise ValueError(msg)
        return cls(curve=curve)

    def apply(self, confidences: ArrayLike) -> NDArray[np.float64]:
        """The probability for each row that all its answers are right."""
        return self.curve.apply(_product(confidences))[:, 0]


def _product(confidences: ArrayLike) -> NDArray[np.float64]:
    """The product of each row's confidences, beside what is left to 1."""
    table = np.asarray(confidences, dtype=np.float64)
    if table.ndim != 2 or not ((table >= 0) & (table <= 1)).all():
        msg = f"Got confidences of shape {table.shape} but expected a table of numbers in [0, 1], a row for each text"
        raise ValueError(msg)
    product = table.prod(axis=1)
    return np.stack([product, 1 - product], axis=1)
