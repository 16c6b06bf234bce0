"""Fit calibrations on probabilities that the classifier gave for rows it had not seen.

Each ``fit_*`` function takes held-out (out-of-fold) probabilities of shape (n_rows, n_labels), each row summing to 1.
It also takes the column index of each row's true label. It returns a frozen object whose `apply` does the mapping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression

from dsplus_chains.calibration.calibration_maps import (
    Floats,
    IsotonicCalibration,
    TemperatureCalibration,
    VectorCalibration,
    finite_log,
    probability_rows,
)
from dsplus_chains.running.one_thread import one_thread_of_blas

TEMPERATURE_RANGE = (0.05, 20.0)
"""The range in which a temperature is sought. Without it, held-out rows that are all right would drive it to 0."""


def fit_temperature(probabilities: ArrayLike, targets: ArrayLike) -> TemperatureCalibration:
    """Find the temperature with the smallest negative log-likelihood.

    Source: Guo et al. (ICML 2017), section 4.2. A bounded scalar minimiser searches over the logarithm of the inverse
    temperature. This follows scikit-learn's `CalibratedClassifierCV(method="temperature")`.

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.

    Raises:
        ValueError: The shapes do not match, there is no row, or a value is not finite.
    """
    logs, true = _training_data(probabilities, targets)
    rows = np.arange(len(true))

    def loss(log_inverse: float) -> float:
        return -float(log_softmax(logs * np.exp(log_inverse), axis=-1)[rows, true].mean())

    low, high = (-np.log(bound) for bound in reversed(TEMPERATURE_RANGE))
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return TemperatureCalibration(temperature=float(np.exp(-found.x)))


def fit_vector_scaling(probabilities: ArrayLike, targets: ArrayLike, *, l2: float = 0.01) -> VectorCalibration:
    """Find one weight and one bias per label with the smallest negative log-likelihood.

    A penalty pulls towards the best single temperature, so that rare labels do not run away.

    Source: Guo et al. (ICML 2017), section 4.2. For the pull towards an identity-like map see Kull et al., "Beyond
    temperature scaling" (NeurIPS 2019), section 3.3.

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.
        l2: Strength of the pull, in nats per unit of squared distance. 0 switches it off.

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
        log_calibrated = log_softmax(logs * parameters[:n_labels] + parameters[n_labels:], axis=-1)
        residual = (np.exp(log_calibrated) - one_hot) / n_rows
        gradient = np.concatenate([(residual * logs).sum(axis=0), residual.sum(axis=0)])
        value = -float((log_calibrated * one_hot).sum()) / n_rows + l2 * float(away @ away)
        return value, gradient + 2 * l2 * away

    with one_thread_of_blas:
        found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return VectorCalibration(weights=tuple(found.x[:n_labels].tolist()), biases=tuple(found.x[n_labels:].tolist()))


def fit_isotonic(probabilities: ArrayLike, targets: ArrayLike, *, per_label: bool = False) -> IsotonicCalibration:
    """Fit rising curves by least squares (pool adjacent violators).

    Args:
        probabilities: Held-out probabilities, shape (n_rows, n_labels).
        targets: Column index of each row's true label.
        per_label: Fit one curve per label instead of one for all. This needs some hundred rows of each label, and may
            change the most likely label.

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


def _training_data(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    rows, true = probability_rows(probabilities), np.asarray(targets)
    if true.shape != rows.shape[:1] or not len(true):
        msg = f"Got {rows.shape[0]} rows and targets of shape {true.shape} but expected one target a row, and a row"
        raise ValueError(msg)
    if not np.isfinite(rows).all():
        msg = "Got probabilities that are not finite but expected numbers in [0, 1]; leave such rows out"
        raise ValueError(msg)
    if not np.issubdtype(true.dtype, np.integer) or true.min() < 0 or true.max() >= rows.shape[1]:
        msg = f"Got targets that are no column indices but expected whole numbers from 0 to {rows.shape[1] - 1}"
        raise ValueError(msg)
    return finite_log(rows), true.astype(np.intp)
