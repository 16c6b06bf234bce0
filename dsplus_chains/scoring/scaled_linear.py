"""`ScaledLinear` is a linear regression on scaled vectors, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dsplus_chains.schema import brief_repr
from dsplus_chains.scoring.members.member import Arrays
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

Floats = NDArray[np.float64]


def unfitted_linear() -> Pipeline:
    """A ridge regression of scikit-learn, which chooses its penalty by itself."""
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 5, 11)))


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledLinear:
    """A linear function of vectors that are first centred, and brought to unit scale.

    Args:
        mean: The mean of each column.
        scale: The scale of each column, above 0.
        weights: The weight of each scaled column.
        bias: What is added.

    Example:
        >>> vectors, values = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1.0, 3.0, 5.0, 7.0])
        >>> ours, theirs = ScaledLinear.fit(vectors, values), unfitted_linear().fit(vectors, values)
        >>> bool((ours.predict(vectors) == theirs.predict(vectors)).all())
        True
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    @classmethod
    def fit(cls, vectors: Floats, values: Floats) -> Self:
        """Fit it, as `unfitted_linear` is fitted.

        Args:
            vectors: Vectors of shape [n, dimensions].
            values: As many numbers.
        """
        scaler, ridge = unfitted_linear().fit(vectors, values)
        return cls(mean=scaler.mean_, scale=scaler.scale_, weights=ridge.coef_, bias=float(ridge.intercept_))

    def predict(self, vectors: Floats) -> Floats:
        """The number for each vector."""
        said: Floats = (vectors - self.mean) / self.scale @ self.weights + self.bias
        return said

    def state(self) -> Arrays:
        """Everything to keep, as arrays."""
        return {"mean": self.mean, "scale": self.scale, "weights": self.weights, "bias": np.array([self.bias])}

    @classmethod
    def from_state(cls, arrays: StoredArrays) -> Self:
        """The regression from its state.

        Raises:
            BundleError: An array is missing, or another one.
            ValueError: A scale is not above 0.
        """
        mean, scale, weights = (arrays.floats(name, (arrays.width,)) for name in ("mean", "scale", "weights"))
        if not (scale > 0).all():
            msg = "Got a scale that is not above 0"
            raise ValueError(msg)
        return cls(mean=mean, scale=scale, weights=weights, bias=float(arrays.floats("bias", (1,))[0]))
