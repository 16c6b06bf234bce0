"""Rows that the small model was fitted on are counted and told, and guarantee nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from dsplus_chains import DSPlusWarning, InvalidInputError, OverlapWarning, Prediction, tune_threshold
from dsplus_chains.tuning import RowOrigin
from dsplus_chains.tuning.tuned import TunedThreshold

N = 200


def predictions(**marked):
    """Predictions of which the first ones are marked, and how many of each mark."""
    marks = [mark for mark, number in marked.items() for _ in range(number)]
    marks += [None] * (N - len(marks))
    return [Prediction(label="a", confidence=0.5 + row / 1000, training=mark) for row, mark in enumerate(marks)]


def tuned(rows, *, guaranteed=False, **settings):
    labels = ["a" if row % 3 else "b" for row in range(len(rows))]
    if guaranteed:
        settings |= {"objective": "max_risk", "max_risk": 0.2}
    return tune_threshold(rows, labels, labels, **settings)


TOLD = [
    # marks of the rows, whether a guarantee is asked for, what happens, how many overlap
    ({}, False, None, 0),
    ({}, True, None, 0),
    ({"seen": 1}, False, "1 of 200 tuning rows", 1),
    ({"seen": 2}, True, r"2 of 200 tuning rows \(1\.0 %\)", 2),
    ({"seen": 50}, False, r"50 of 200 tuning rows \(25\.0 %\)", 50),
    ({"seen": N}, False, "200 of 200 tuning rows", N),
    ({"out_of_fold": N}, False, None, 0),
    ({"out_of_fold": 150, "copy": 50}, False, None, 0),
    ({"out_of_fold": 199, "seen": 1}, False, "1 of 200 tuning rows", 1),
    ({"out_of_fold": 2}, True, None, 0),
]
REFUSED = [
    ({"seen": 3}, "3 of 200"),
    ({"seen": N}, "200 of 200"),
    ({"out_of_fold": N}, "not even out of fold"),
    ({"out_of_fold": 3}, "3 of 200"),
    ({"seen": 1, "out_of_fold": 1, "copy": 1}, "3 of 200"),
]


@pytest.mark.parametrize(("marked", "guaranteed", "told", "overlap"), TOLD)
def test_an_overlap_is_told_from_the_first_row(marked, guaranteed, told, overlap):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = tuned(predictions(**marked), guaranteed=guaranteed)
    heard = [warning.category for warning in caught if issubclass(warning.category, DSPlusWarning)]
    assert heard == [OverlapWarning] * (told is not None)
    assert result.overlap == overlap
    assert ("too good" in result.meaning) == (overlap > 0)
    if told is not None:
        with pytest.warns(OverlapWarning, match=told):
            tuned(predictions(**marked), guaranteed=guaranteed)


@pytest.mark.parametrize(("marked", "told"), REFUSED)
@pytest.mark.parametrize("objective", ["max_risk", "accuracy"])
def test_a_guarantee_is_refused_above_one_percent(marked, told, objective):
    with pytest.raises(InvalidInputError, match=told):
        tuned(predictions(**marked), objective=objective, max_risk=0.9)


def test_a_caller_can_say_that_predictions_are_out_of_fold():
    assert tuned(predictions(), out_of_fold=True).overlap == 0
    with pytest.raises(InvalidInputError, match="not even out of fold"):
        tuned(predictions(), out_of_fold=True, guaranteed=True)
    with pytest.raises(InvalidInputError, match=r"out_of_fold=True but 1 of 200"):
        tuned(predictions(seen=1), out_of_fold=True)


def test_copies_count_once_where_they_are_no_evidence():
    rows, texts = predictions(), [f"text {row % 50}{'!' * (row // 50)}" for row in range(N)]
    assert tuned(rows, texts=texts).n == N  # rows as they come may repeat
    assert tuned(rows, texts=texts, out_of_fold=True).n == 50  # training rows were repeated on purpose
    assert tuned(rows, texts=texts, guaranteed=True, max_escalation=1).n == 50
    assert tuned(predictions(out_of_fold=150, copy=50)).n == 150


def test_oversampled_rows_certify_no_less_a_risk_than_the_rows_themselves():
    rng = np.random.default_rng(0)
    right = rng.random(60) < 0.97
    rows = [Prediction(label="a", confidence=float(value)) for value in rng.uniform(0.6, 1, 60)]
    labels, texts = ["a" if value else "b" for value in right], [f"text {row}" for row in range(60)]
    with pytest.raises(ValueError, match="60 rows can certify"):
        tune_threshold(rows * 20, labels * 20, labels * 20, texts=texts * 20, objective="max_risk", max_risk=0.04)


def test_the_result_knows_the_texts_it_was_tuned_on():
    texts = [f"text {row}" for row in range(N)]
    records = [{"input": text, "prediction": row} for text, row in zip(texts, predictions(), strict=True)]
    for result in (tuned(records), tuned(predictions(), texts=texts)):
        again = TunedThreshold.from_dict(result.to_dict())
        assert again == result
        assert again.tuned_on.has(["TEXT 7.", "another"]) == [True, False]
    assert tuned(predictions()).tuned_on is None
    old = {name: value for name, value in result.to_dict().items() if name not in {"tuned_on", "overlap"}}
    assert TunedThreshold.from_dict(old).tuned_on is None


def test_as_many_texts_as_predictions_are_expected():
    with pytest.raises(InvalidInputError, match="Got 1 texts for 200 predictions"):
        RowOrigin.of(predictions(), texts=["one"])
