"""Calibrations are maps from a classifier's probabilities to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from dsplus_chains.schema import ROUNDING, brief_repr, read_numbers, shown

Floats = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-12
"""Least probability before the logarithm is taken. Smaller ones are raised to it (a float32 softmax reaches 0)."""
TIE_BREAK = 1e-4
"""The share of the original probabilities that stays in an isotonic map, so that its flat parts make no ties."""


@runtime_checkable
class Calibration(Protocol):
    """A fitted map from probabilities to calibrated probabilities."""

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        ...

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities. The result is log-probabilities too."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. `calibration_from_dict` reads it back."""
        ...


@brief_repr
@dataclass(frozen=True, kw_only=True)
class TemperatureCalibration:
    """Softmax of the log-probabilities divided by one number. The most likely label never changes.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2.

    Args:
        temperature: A value above 1 lowers the confidence, below 1 raises it.

    Example:
        >>> TemperatureCalibration(temperature=2.0).apply([[0.9, 0.1]]).round(2).tolist()
        [[0.75, 0.25]]
    """

    kind: ClassVar[str] = "temperature"
    temperature: float

    def __post_init__(self) -> None:
        """Refuse a temperature that is no positive number."""
        if not 0 < self.temperature < np.inf:
            msg = f"Got temperature={self.temperature} but expected a positive number"
            raise ValueError(msg)

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        return np.exp(self.apply_log(finite_log(probability_rows(probabilities))))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities (or any logits). The result is log-probabilities."""
        return cast("Floats", log_softmax(np.asarray(log_probabilities, dtype=np.float64) / self.temperature, axis=-1))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind, "temperature": self.temperature}


@brief_repr
@dataclass(frozen=True, kw_only=True)
class VectorCalibration:
    """Softmax of ``weight * log-probability + bias``, with one weight and one bias per label.

    Source: Guo et al. (ICML 2017), section 4.2, "vector scaling".

    Args:
        weights: One factor per label, in column order.
        biases: One offset per label, in nats.
    """

    kind: ClassVar[str] = "vector"
    weights: tuple[float, ...]
    biases: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse lists of unequal length."""
        if len(self.weights) != len(self.biases):
            msg = f"Got {len(self.weights)} weights and {len(self.biases)} biases but expected one of each per label"
            raise ValueError(msg)

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        return np.exp(self.apply_log(finite_log(probability_rows(probabilities))))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities. The result is log-probabilities too."""
        logs = np.asarray(log_probabilities, dtype=np.float64)
        _check_width(logs, len(self.weights))
        return cast("Floats", log_softmax(logs * np.array(self.weights) + np.array(self.biases), axis=-1))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind, "weights": list(self.weights), "biases": list(self.biases)}


@brief_repr
@dataclass(frozen=True, kw_only=True)
class IsotonicCalibration:
    """A rising curve per label (or one for all labels). Then each row is divided by its sum.

    Source of one curve per label: Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass
    Probability Estimates" (KDD 2002), section 5. Source of one curve for all: Zhang, Kailkhura, Han, "Mix-n-Match"
    (ICML 2020), section 3.2. One curve for all needs far less data and never changes the most likely label.

    A share of 1e-4 of the original probabilities stays in (`TIE_BREAK`). Without it, flat parts of a curve would make
    ties. And a row that all curves send to 0 would have no label.

    Args:
        curves: Pairs (inputs, outputs) of points, rising. Values between points are interpolated.
    """

    kind: ClassVar[str] = "isotonic"
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]

    def __post_init__(self) -> None:
        """Refuse curves that do not rise from probabilities to probabilities."""
        sound = all(
            len(inputs) == len(outputs) > 0
            and all(a <= b for points in (inputs, outputs) for a, b in pairwise((-ROUNDING, *points, 1 + ROUNDING)))
            for inputs, outputs in self.curves
        )
        if not self.curves or not sound:
            got = shown(self.curves)
            msg = f"Got curves={got} but expected some, each of as many inputs as outputs, rising in [0, 1]"
            raise ValueError(msg)

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        rows = probability_rows(probabilities)
        if len(self.curves) == 1:
            mapped = np.interp(rows, *self.curves[0])
        else:
            _check_width(rows, len(self.curves))
            columns = [np.interp(column, *curve) for column, curve in zip(rows.T, self.curves, strict=True)]
            mapped = np.stack(columns, axis=1)
        mixed = (1 - TIE_BREAK) * mapped + TIE_BREAK * rows
        return cast("Floats", mixed / mixed.sum(axis=1, keepdims=True))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities. The result is log-probabilities too."""
        return finite_log(self.apply(np.exp(np.asarray(log_probabilities, dtype=np.float64))))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind, "curves": [[list(x), list(y)] for x, y in self.curves]}


def calibration_from_dict(data: Mapping[str, Any]) -> Calibration:
    """Read back what `to_dict` wrote.

    Raises:
        ValueError: The kind is unknown or a field is missing.

    Example:
        >>> calibration_from_dict({"kind": "temperature", "temperature": 1.5})
        TemperatureCalibration(temperature=1.5)
    """
    kind = data.get("kind")
    try:
        if kind == "temperature":
            return TemperatureCalibration(temperature=read_numbers([data["temperature"]])[0])
        if kind == "vector":
            return VectorCalibration(weights=read_numbers(data["weights"]), biases=read_numbers(data["biases"]))
        if kind == "isotonic":
            return IsotonicCalibration(curves=tuple((read_numbers(x), read_numbers(y)) for x, y in data["curves"]))
    except (KeyError, TypeError) as error:
        msg = f"Got a {kind} calibration that cannot be read ({error!r}) but expected what to_dict() writes"
        raise ValueError(msg) from error
    msg = f'Got kind={shown(kind)} but expected "temperature", "vector" or "isotonic"'
    raise ValueError(msg)


def probability_rows(probabilities: ArrayLike) -> Floats:
    """Probabilities as an array of shape (n_rows, n_labels).

    Raises:
        ValueError: They have another shape.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2:
        msg = f"Got probabilities of shape {rows.shape} but expected (n_rows, n_labels)"
        raise ValueError(msg)
    return rows


def _check_width(rows: Floats, n_labels: int) -> None:
    if rows.shape[-1] != n_labels:
        msg = f"Got {rows.shape[-1]} columns but expected {n_labels}, one for each label this was fitted on"
        raise ValueError(msg)


def finite_log(probabilities: Floats) -> Floats:
    """The logarithm of probabilities, which is finite for 0 too."""
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
