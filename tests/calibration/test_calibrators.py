from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from dsplus_chains.calibration.calibration_maps import (
    IsotonicCalibration,
    TemperatureCalibration,
    VectorCalibration,
    calibration_from_dict,
)
from dsplus_chains.calibration.calibrators import TEMPERATURE_RANGE, fit_isotonic, fit_temperature, fit_vector_scaling


def overconfident(n_rows: int, n_labels: int, *, sharpen: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that were right before their logarithms were multiplied by `sharpen`."""
    rng = np.random.default_rng(seed)
    honest = softmax(2 * rng.normal(size=(n_rows, n_labels)), axis=1)
    targets = np.array([rng.choice(n_labels, p=row) for row in honest])
    return softmax(sharpen * np.log(honest), axis=1), targets


FITS = {
    "temperature": fit_temperature,
    "vector": fit_vector_scaling,
    "isotonic": fit_isotonic,
    "isotonic per label": lambda p, t: fit_isotonic(p, t, per_label=True),
}


def test_temperature_finds_the_one_that_was_put_in():
    probabilities, targets = overconfident(20_000, 4, sharpen=3.0)
    assert fit_temperature(probabilities, targets).temperature == pytest.approx(3.0, rel=0.03)


def test_temperature_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(600, 5))
    labels = (features[:, 0] + features[:, 1] > rng.normal(size=600)).astype(int) + (features[:, 2] > 1)
    model = LogisticRegression(C=100).fit(features[:300], labels[:300])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(features[300:], labels[300:])
    ours = fit_temperature(model.predict_proba(features[300:]), labels[300:])
    np.testing.assert_allclose(
        ours.apply(model.predict_proba(features[300:])), theirs.predict_proba(features[300:]), atol=1e-3
    )


@pytest.mark.parametrize("right", [True, False])
def test_temperature_stays_bounded_where_all_rows_agree(right):
    probabilities = np.tile([0.8, 0.2], (20, 1))
    temperature = fit_temperature(probabilities, np.full(20, 0 if right else 1)).temperature
    assert temperature == pytest.approx(TEMPERATURE_RANGE[0 if right else 1], rel=1e-3)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6).filter(lambda row: sum(row) > 0.1),
    st.floats(*TEMPERATURE_RANGE),
)
def test_temperature_keeps_the_label_and_sums_to_one(row, temperature):
    probabilities = np.array([row]) / sum(row)
    calibrated = TemperatureCalibration(temperature=temperature).apply(probabilities)
    assert calibrated.sum() == pytest.approx(1)
    assert calibrated[0, probabilities[0].argmax()] == calibrated[0].max()


def test_temperature_one_changes_nothing():
    probabilities, _ = overconfident(50, 3, sharpen=1.0)
    np.testing.assert_allclose(TemperatureCalibration(temperature=1).apply(probabilities), probabilities, atol=1e-12)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_calibration_lowers_the_held_out_log_loss(fit):
    probabilities, targets = overconfident(6000, 5, sharpen=2.5)
    calibrated = fit(probabilities[:3000], targets[:3000]).apply(probabilities[3000:])
    labels = list(range(5))
    assert log_loss(targets[3000:], calibrated, labels=labels) < log_loss(
        targets[3000:], probabilities[3000:], labels=labels
    )
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


def test_vector_scaling_mends_a_bias_that_a_temperature_cannot():
    probabilities, targets = overconfident(8000, 3, sharpen=1.0)
    biased = softmax(np.log(probabilities) + np.array([1.5, 0, 0]), axis=1)
    vector, temperature = fit_vector_scaling(biased, targets), fit_temperature(biased, targets)
    assert log_loss(targets, vector.apply(biased)) < log_loss(targets, temperature.apply(biased)) - 0.02
    assert vector.biases[0] < vector.biases[1]


def test_a_strong_pull_makes_vector_scaling_a_temperature():
    probabilities, targets = overconfident(500, 3, sharpen=2.0)
    vector = fit_vector_scaling(probabilities, targets, l2=1e6)
    expected = fit_temperature(probabilities, targets).apply(probabilities)
    np.testing.assert_allclose(vector.apply(probabilities), expected, atol=1e-4)


def test_one_isotonic_curve_never_changes_the_label():
    probabilities, targets = overconfident(400, 6, sharpen=2.0)
    calibrated = fit_isotonic(probabilities, targets).apply(probabilities)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))


def test_isotonic_steps_make_no_ties():
    flat = IsotonicCalibration(curves=(((0.0, 1.0), (0.0, 0.0)),))
    np.testing.assert_allclose(flat.apply([[0.2, 0.5, 0.3]]), [[0.2, 0.5, 0.3]])
    step = IsotonicCalibration(curves=(((0.0, 0.2, 0.9), (0.4, 0.4, 0.4)),))
    row = step.apply([[0.4, 0.35, 0.25]])[0]
    assert row[0] > row[1] > row[2]


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_json_and_back(fit):
    probabilities, targets = overconfident(200, 3, sharpen=2.0)
    calibration = fit(probabilities, targets)
    again = calibration_from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    np.testing.assert_array_equal(again.apply(probabilities), calibration.apply(probabilities))


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_log_probabilities_and_probabilities_agree(fit):
    probabilities, targets = overconfident(200, 3, sharpen=2.0)
    calibration = fit(probabilities, targets)
    np.testing.assert_allclose(
        np.exp(calibration.apply_log(np.log(probabilities))), calibration.apply(probabilities), atol=1e-9
    )


def test_log_probabilities_keep_what_a_float_loses():
    confidence = np.exp(TemperatureCalibration(temperature=10).apply_log([[0.0, -60.0], [0.0, -80.0]]))[:, 0]
    assert confidence[0] < confidence[1] < 1


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        ([0.5, 0.5], [0], "expected \\(n_rows, n_labels\\)"),
        (np.empty((0, 2)), [], "and a row"),
        ([[0.5, 0.5]], [0, 1], "one target a row"),
        ([[0.5, np.nan]], [0], "not finite"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "whole numbers"),
    ],
)
def test_bad_training_data_is_refused(fit, probabilities, targets, message):
    with pytest.raises(ValueError, match=message):
        fit(probabilities, targets)


@pytest.mark.parametrize(
    "data",
    [{}, {"kind": "platt"}, {"kind": "temperature"}, {"kind": "temperature", "temperature": 0}, {"kind": "vector"}],
)
def test_what_cannot_be_read_is_refused(data):
    with pytest.raises(ValueError, match="expected"):
        calibration_from_dict(data)


def test_a_wrong_number_of_labels_is_refused():
    with pytest.raises(ValueError, match="Got 3 columns but expected 2"):
        VectorCalibration(weights=(1, 1), biases=(0, 0)).apply([[0.2, 0.3, 0.5]])
    with pytest.raises(ValueError, match="one of each per label"):
        VectorCalibration(weights=(1, 1), biases=(0,))
    with pytest.raises(ValueError, match="l2=-1"):
        fit_vector_scaling([[0.5, 0.5]], [0], l2=-1)
