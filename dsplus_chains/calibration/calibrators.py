"""Calibrators: maps from a classifier's probabilities to probabilities that mean what they say.

Each ``fit_*`` function takes held-out (out-of-fold) probabilities of shape (n_rows, n_labels), each row summing
to 1, and the column index of each row's true label. It returns a frozen object whose `apply` does the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

Floats = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-12
"""Probabilities are raised to this before their logarithm is taken (a float32 softmax reaches 0)."""
TEMPERATURE_RANGE = (0.05, 20.0)
"""Where a temperature is sought: without bounds, held-out rows that are all right would drive it to 0."""
TIE_BREAK = 1e-4
"""The share of the original probabilities that stays in an isotonic map, so that its steps make no ties."""


@runtime_checkable
class Calibration(Protocol):
    """A fitted map from probabilities to calibrated probabilities."""

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        ...

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities; what comes back are log-probabilities."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; `calibration_from_dict` reads it back."""
        ...


@dataclass(frozen=True, kw_only=True)
class TemperatureCalibration:
    """Softmax of the log-probabilities divided by one number. The most likely label never changes.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2.

    Args:
        temperature: Above 1 lowers the confidence, below 1 raises it.

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
        return np.exp(self.apply_log(_log(_rows(probabilities))))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities (or any logits); what comes back are log-probabilities."""
        return _log_softmax(np.asarray(log_probabilities, dtype=np.float64) / self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {"kind": self.kind, "temperature": self.temperature}


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
        return np.exp(self.apply_log(_log(_rows(probabilities))))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities; what comes back are log-probabilities."""
        logs = np.asarray(log_probabilities, dtype=np.float64)
        _check_width(logs, len(self.weights))
        return _log_softmax(logs * np.array(self.weights) + np.array(self.biases))

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {"kind": self.kind, "weights": list(self.weights), "biases": list(self.biases)}


@dataclass(frozen=True, kw_only=True)
class IsotonicCalibration:
    """A rising step curve per label (or one for all labels), then each row divided by its sum.

    Sources: one curve per label: Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass
    Probability Estimates" (KDD 2002), section 5; one curve for all: Zhang, Kailkhura, Han, "Mix-n-Match" (ICML
    2020), section 3.2, which needs far less data and never changes the most likely label.

    A share of 1e-4 of the original probabilities stays in (`TIE_BREAK`): a step would make ties, and a row that all
    curves send to 0 would have no label.

    Args:
        curves: Pairs (inputs, outputs) of points, rising; values between points are interpolated.
    """

    kind: ClassVar[str] = "isotonic"
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Calibrate probabilities of shape (n_rows, n_labels)."""
        rows = _rows(probabilities)
        if len(self.curves) == 1:
            mapped = np.interp(rows, *self.curves[0])
        else:
            _check_width(rows, len(self.curves))
            columns = [np.interp(column, *curve) for column, curve in zip(rows.T, self.curves, strict=True)]
            mapped = np.stack(columns, axis=1)
        mixed = (1 - TIE_BREAK) * mapped + TIE_BREAK * rows
        return cast("Floats", mixed / mixed.sum(axis=1, keepdims=True))

    def apply_log(self, log_probabilities: ArrayLike) -> Floats:
        """Calibrate log-probabilities; what comes back are log-probabilities."""
        return _log(self.apply(np.exp(np.asarray(log_probabilities, dtype=np.float64))))

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {"kind": self.kind, "curves": [[list(x), list(y)] for x, y in self.curves]}


def fit_temperature(probabilities: ArrayLike, targets: ArrayLike) -> TemperatureCalibration:
    """Find the temperature with the smallest negative log-likelihood.

    Source: Guo et al. (ICML 2017), section 4.2; the search over the logarithm of the inverse temperature by a bounded
    scalar minimiser follows scikit-learn's `CalibratedClassifierCV(method="temperature")`.

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.

    Raises:
        ValueError: The shapes do not match, there is no row, or a value is not finite.
    """
    logs, true = _training_data(probabilities, targets)
    rows = np.arange(len(true))

    def loss(log_inverse: float) -> float:
        return -float(_log_softmax(logs * np.exp(log_inverse))[rows, true].mean())

    low, high = (-np.log(bound) for bound in reversed(TEMPERATURE_RANGE))
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return TemperatureCalibration(temperature=float(np.exp(-found.x)))


def fit_vector_scaling(probabilities: ArrayLike, targets: ArrayLike, *, l2: float = 0.01) -> VectorCalibration:
    """Find one weight and one bias per label with the smallest negative log-likelihood.

    The penalty pulls towards the best single temperature, so that rare labels do not run away.

    Source: Guo et al. (ICML 2017), section 4.2; the pull towards an identity-like map: Kull et al., "Beyond
    temperature scaling" (NeurIPS 2019), section 3.3.

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.
        l2: Strength of the pull, in nats per unit of squared distance; 0 switches it off.

    Raises:
        ValueError: The shapes do not match, there is no row, a value is not finite, or `l2` is negative.
    """
    if not l2 >= 0:
        msg = f"Got l2={l2} but expected a number of at least 0"
        raise ValueError(msg)
    logs, true = _training_data(probabilities, targets)
    n_rows, n_labels = logs.shape
    one_hot = np.eye(n_labels)[true]
    start = np.concatenate(
        [np.full(n_labels, 1 / fit_temperature(probabilities, targets).temperature), np.zeros(n_labels)]
    )

    def loss_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        away = parameters - start
        log_calibrated = _log_softmax(logs * parameters[:n_labels] + parameters[n_labels:])
        residual = (np.exp(log_calibrated) - one_hot) / n_rows
        gradient = np.concatenate([(residual * logs).sum(axis=0), residual.sum(axis=0)])
        value = -float((log_calibrated * one_hot).sum()) / n_rows + l2 * float(away @ away)
        return value, gradient + 2 * l2 * away

    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return VectorCalibration(weights=tuple(found.x[:n_labels].tolist()), biases=tuple(found.x[n_labels:].tolist()))


def fit_isotonic(probabilities: ArrayLike, targets: ArrayLike, *, per_label: bool = False) -> IsotonicCalibration:
    """Fit rising curves by least squares (pool adjacent violators).

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.
        per_label: One curve per label, which needs some hundred rows of each and may change the most likely label;
            otherwise one curve for all labels.

    Raises:
        ValueError: The shapes do not match, there is no row, or a value is not finite.
    """
    logs, true = _training_data(probabilities, targets)
    rows, hits = np.exp(logs), np.eye(logs.shape[1])[true]
    groups = zip(rows.T, hits.T, strict=True) if per_label else [(rows.ravel(), hits.ravel())]
    curves = []
    for values, right in groups:
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(values, right)
        curves.append((tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())))
    return IsotonicCalibration(curves=tuple(curves))


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
            return TemperatureCalibration(temperature=float(data["temperature"]))
        if kind == "vector":
            return VectorCalibration(weights=_numbers(data["weights"]), biases=_numbers(data["biases"]))
        if kind == "isotonic":
            return IsotonicCalibration(curves=tuple((_numbers(x), _numbers(y)) for x, y in data["curves"]))
    except (KeyError, TypeError) as error:
        msg = f"Got a {kind} calibration that cannot be read ({error!r}) but expected what to_dict() writes"
        raise ValueError(msg) from error
    msg = f'Got kind={kind!r} but expected "temperature", "vector" or "isotonic"'
    raise ValueError(msg)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _rows(probabilities: ArrayLike) -> Floats:
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2:
        msg = f"Got probabilities of shape {rows.shape} but expected (n_rows, n_labels)"
        raise ValueError(msg)
    return rows


def _training_data(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    rows, true = _rows(probabilities), np.asarray(targets)
    if true.shape != rows.shape[:1] or not len(true):
        msg = f"Got {rows.shape[0]} rows and targets of shape {true.shape} but expected one target a row, and a row"
        raise ValueError(msg)
    if not np.isfinite(rows).all():
        msg = "Got probabilities that are not finite but expected numbers in [0, 1]; leave such rows out"
        raise ValueError(msg)
    if not np.issubdtype(true.dtype, np.integer) or true.min() < 0 or true.max() >= rows.shape[1]:
        msg = f"Got targets that are no column indices but expected whole numbers from 0 to {rows.shape[1] - 1}"
        raise ValueError(msg)
    return _log(rows), true.astype(np.intp)


def _check_width(rows: Floats, n_labels: int) -> None:
    if rows.shape[-1] != n_labels:
        msg = f"Got {rows.shape[-1]} columns but expected {n_labels}, one for each label this was fitted on"
        raise ValueError(msg)


def _log(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return cast("Floats", shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
