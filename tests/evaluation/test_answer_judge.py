"""Answers that are no labels are judged by a function or a verifier, once each."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from fakes import Recording
from langchain_core.messages import AIMessage

from dsplus_chains import Prediction, evaluate, tune_threshold
from dsplus_chains.evaluation.answer_judge import AnswerJudge
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.verifying import Check, Verdict


def near(answer, reference):
    return abs(float(answer) - reference) < 0.5


def records():
    return [
        {"input": str(row), "prediction": Prediction(value=value, confidence=sure), "answer": answer, "source": source}
        for row, (value, sure, answer, source) in enumerate(
            [(1.2, 0.9, 1.2, "small"), (7.0, 0.8, 7.0, "small"), (9.0, 0.1, 3.1, "large"), (9.0, 0.2, 8.0, "large")]
        )
    ]


REFERENCES = [1, 2, 3, 4]
LARGE = [1, 2, 3.1, None]


def test_evaluate_by_a_judge():
    result = evaluate(records(), REFERENCES, large_answers=LARGE, judge=near)
    assert (result.accuracy, result.small_accuracy, result.large_accuracy) == (0.5, 0.25, 0.75)
    assert (result.fixed, result.broke, result.confusions) == (1, 0, ())
    assert [(row.row, row.label, row.answer) for row in result.errors] == [(1, 2, 7.0), (3, 4, 8.0)]


def test_it_is_what_labels_of_right_and_wrong_say():
    by_judge = evaluate(records(), REFERENCES, large_answers=LARGE, judge=near)
    judged = [
        {**one, "prediction": Prediction(label=small, confidence=one["prediction"].confidence), "answer": right}
        for one, small, right in zip(records(), [True, False, False, False], [True, False, True, False], strict=True)
    ]
    by_label = evaluate(judged, [True] * 4, large_answers=[True, True, True, None])
    for name in ("accuracy", "gain_over_small", "gain_over_large", "aurc", "curve", "baselines", "reliability"):
        assert getattr(by_judge, name) == getattr(by_label, name), name


def test_a_judge_may_see_the_record_and_may_be_of_numpy():
    judge = AnswerJudge(lambda answer, reference, row: np.bool_(answer == row["input"]), [0, 0], [{"input": "a"}] * 2)
    assert judge.answers(["a", "b"]) == [True, False]


def test_a_parameter_with_a_default_is_not_the_record():
    assert AnswerJudge(lambda answer, reference, atol=0.5: abs(answer - reference) < atol, [1]).answers([1.2]) == [True]
    assert AnswerJudge(operator.eq, [1]).answers([1]) == [True]
    assert AnswerJudge(math.isclose, [1]).answers([1.0]) == [True]


def test_a_verifier_judges_all_in_one_batch_and_each_answer_once():
    verifier = Recording(lambda row: row["candidate"] == row["reference"] and row["input"] == "0")
    decide = AnswerJudge(verifier, ["x", "y"], [{"input": "0"}, {"input": "1"}])
    assert decide.answers([AIMessage("x"), "y"]) == [True, False]
    assert decide.answers(["x", ValueError("none")]) == [True, None]
    assert verifier.sizes == [2]


def test_what_a_verifier_cannot_check_counts_as_wrong_and_is_told(caplog):
    status = {"good": "passed", "odd": "unsupported"}
    verifier = Recording(lambda row: Verdict(checks=(Check(name="t", status=status[row["candidate"]]),)))
    assert AnswerJudge(verifier, [1, 1, 1]).answers(["good", "odd", "odd"]) == [True, False, False]
    assert "could not check 2 of 3 answers, which count as wrong" in caplog.text


@pytest.mark.parametrize("label", [{"sum": 1}, [1], (1,)])
def test_without_a_judge_labels_are_labels(label):
    prediction = Prediction(label="a", confidence=0.5)
    record = {"input": "x", "prediction": prediction, "answer": "a", "source": "small"}
    for measured in (lambda: evaluate([record], [label]), lambda: tune_threshold([prediction], [label], ["a"])):
        with pytest.raises(InvalidInputError, match=r"in row 0 but expected a string.* a judge="):
            measured()


def test_tune_by_a_judge():
    sure, unsure = Prediction(value=[1], confidence=0.9), Prediction(value=[7], confidence=0.6)
    tuned = tune_threshold(
        [sure, unsure] * 20, [{"sum": 1}, {"sum": 2}] * 20, [[1], [1, 1]] * 20, judge=lambda a, b: sum(a) == b["sum"]
    )
    assert (tuned.threshold, tuned.chain_accuracy.value, tuned.escalation_rate.value) == (0.8, 1.0, 0.5)


@pytest.mark.parametrize("settings", [{"fusion": "posterior"}, {"per_label": True}, {"set_coverage": 0.9}])
def test_what_needs_labels_is_refused(settings):
    with pytest.raises(ValueError, match="they need labels"):
        tune_threshold([Prediction(label="a", confidence=0.5)], ["a"], ["a"], judge=lambda a, b: True, **settings)


def test_what_is_no_judgement_is_refused():
    with pytest.raises(ValueError, match="expected True or False"):
        AnswerJudge(lambda a, b: 0.7, [1]).answers([1])
    with pytest.raises(ValueError, match="one for each"):
        AnswerJudge(near, [1]).answers([1, 2])


def test_answers_that_are_written_alike_are_judged_each():
    truth, wrong = np.ones(5_000), np.ones(5_000)
    wrong[2_500] = 0
    assert repr(truth) == repr(wrong)
    decide = AnswerJudge(np.array_equal, [truth])
    assert [decide.answers([answer]) for answer in (truth, wrong, truth.copy())] == [[True], [False], [True]]
    assert [decide.answers([truth * number]) for number in (2, 1, 3)] == [[False], [True], [False]]
