"""The probabilities of a table become dicts, without a look at each."""

import copy
import json
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps

from dsplus_chains import Prediction
from dsplus_chains.scoring.table_predictions import Scores, predictions_of

NUMBERS = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(NUMBERS)
def test_they_are_a_dict_in_all_that_a_dict_can_do(numbers):
    labels = [f"label {number}" for number in range(len(numbers))]
    held = dict(zip(labels, np.clip(numbers, 0, 1).tolist(), strict=True))
    (prediction,) = predictions_of(labels, Scores(np.array([numbers])), [None])
    view = prediction.probabilities
    assert isinstance(view, dict)
    assert view == held
    assert (repr(view), json.dumps(view)) == (repr(held), json.dumps(held))
    assert {**view} == view.copy() == view | {} == {} | view == held
    assert all(type(number) is float for number in view.values())
    for again in (pickle.loads(pickle.dumps(view)), copy.deepcopy(view), copy.copy(view)):
        assert again == held


def test_they_cannot_be_changed():
    (prediction,) = predictions_of(("a", "b"), Scores(np.array([[0.25, 0.75]])), [None])
    with pytest.raises(TypeError):
        prediction.probabilities["a"] = 1.0
    with pytest.raises(TypeError):
        del prediction.probabilities["a"]
    with pytest.raises(TypeError):
        hash(prediction.probabilities)


def test_a_table_gives_the_predictions_that_dicts_give():
    table = np.random.default_rng(0).dirichlet(np.ones(5), 20)
    table[3] = np.nan
    table[4] = [1 + 5e-7, 0, 0, 0, -5e-7]
    labels, training = (1, 2, 3, 4, 5), [None, "seen"] * 10
    made = predictions_of(labels, Scores(table, np.arange(20.0)), training)
    for row, prediction in enumerate(made):
        if row == 3:
            assert prediction == Prediction(label=None, training="seen")
            continue
        best = int(table[row].argmax())
        given = Prediction(
            label=labels[best],
            confidence=float(table[row, best]),
            probabilities=dict(zip(labels, table[row].tolist(), strict=True)),
            ood_score=row,
            training=training[row],
        )
        assert prediction == given
        assert (repr(prediction), dumps(prediction)) == (repr(given), dumps(given))
        for mode in ("python", "json"):
            assert repr(prediction.model_dump(mode=mode)) == repr(given.model_dump(mode=mode))
        assert json.loads(prediction.model_dump_json()) == json.loads(given.model_dump_json())
        assert Prediction.model_validate(prediction.model_dump()) == prediction
        assert pickle.loads(pickle.dumps(prediction)) == prediction
    with pytest.raises(ValueError, match=r"1\.1.*probability"):
        predictions_of(("a", "b"), Scores(np.array([[1.1, 0.0]])), [None])
    assert predictions_of(("a", "b"), Scores(np.empty((0, 2))), []) == []


def test_a_prediction_that_is_kept_does_not_keep_its_batch():
    table = np.full((5_000, 10), 0.1)
    tracemalloc.start()
    kept = predictions_of(range(10), Scores(table), [None] * len(table))[7]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.probabilities == dict.fromkeys(range(10), 0.1)
    assert held < table.nbytes / 2


def calls(make):
    """How many functions are called meanwhile."""
    seen = []
    sys.setprofile(lambda _frame, event, _arg: seen.append(event))
    try:
        make()
    finally:
        sys.setprofile(None)
    return seen.count("call") + seen.count("c_call")


def test_many_labels_cost_a_prediction_next_to_nothing():
    def of_a_table(n):
        return predictions_of(range(n), Scores(np.full((20, n), 1 / n)), [None] * 20)

    def one_by_one(n):
        return [Prediction(label=0, probabilities=dict.fromkeys(range(n), 1 / n)) for _ in range(20)]

    of_a_table(5), one_by_one(5)  # what is done only once
    assert calls(lambda: of_a_table(500)) == calls(lambda: of_a_table(5))
    assert calls(lambda: one_by_one(500)) > calls(lambda: one_by_one(5)) + 20 * 495
