from __future__ import annotations

import warnings

import pytest

from dsplus_chains.schema import InvalidInputError, LabelWarning, Prediction
from dsplus_chains.tuning.known_labels import check_known
from dsplus_chains.tuning.threshold_tuning import tune_threshold

SAID = [Prediction(label="positive", confidence=0.6 + n / 100) for n in range(10)]
WHOLE = [Prediction(label="a", confidence=0.7, probabilities={"a": 0.7, "b": 0.3})] * 4


def test_true_labels_that_are_written_otherwise_are_no_tuning_rows():
    with pytest.raises(InvalidInputError, match="10 of 10 true labels that the small model never names"):
        tune_threshold(SAID, ["Positive"] * 10, ["Positive"] * 10)


def test_some_unknown_labels_are_told():
    with pytest.warns(LabelWarning, match="1 of 4 true labels that the small model never names, such as 'c'"):
        check_known(["a", "b", "a", "c"], WHOLE)
    with pytest.warns(LabelWarning, match="2 of 10"):
        check_known(["positive"] * 8 + ["POSITIVE"] * 2, SAID)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        (["ham", "spam"], [Prediction(label="ham", confidence=0.9)] * 2),  # a rare label that it did not happen to say
        (["Bern"] * 2, [Prediction(label=name, confidence=1.0, probabilities={name: 1.0}) for name in ("Genf", "Ulm")]),
        ([True, True], [Prediction(label=False, confidence=0.9)] * 2),  # a judge that takes none for right
        (["a", "a"], [Prediction(label=None)] * 2),
    ],
)
def test_labels_are_not_doubted_where_the_small_models_own_are_not_known(labels, predictions):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_known(labels, predictions)
    assert told == []
