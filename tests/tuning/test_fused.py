from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax

from dsplus_chains import AnswerFusion, InvalidInputError, Prediction, tune_threshold
from dsplus_chains.tuning.result import TunedThreshold

LABELS = tuple("abcde")


def rows(n, *, seed=0, large=0.75):
    """A calibrated small model, and a large one that is right more often but mostly where the small one is too."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 5))
    table = softmax(logits, axis=1)
    truth = [LABELS[rng.choice(5, p=row)] for row in table]
    said = [label if rng.random() < large else LABELS[rng.integers(5)] for label in truth]
    predictions = [
        Prediction(
            label=LABELS[int(row.argmax())],
            confidence=float(row.max()),
            probabilities=dict(zip(LABELS, row.tolist(), strict=True)),
        )
        for row in table
    ]
    return predictions, truth, said


def test_fusion_makes_the_better_chain_and_says_so():
    data = rows(1500)
    replaced, fused = tune_threshold(*data), tune_threshold(*data, fusion="posterior")
    assert replaced.fusion is None
    assert isinstance(fused.fusion, AnswerFusion)
    assert fused.chain_accuracy.value > replaced.chain_accuracy.value + 0.01
    assert "weighed with the small one's" in fused.meaning
    assert fused.large_accuracy == replaced.large_accuracy


def test_what_is_estimated_on_tuning_rows_holds_on_others():
    tuned = tune_threshold(*rows(1000), fusion="posterior")
    predictions, truth, said = rows(20_000, seed=1)
    fused = tuned.fusion.fuse(predictions, said)
    answers = [
        row.label if row.confidence >= tuned.threshold else both.label
        for row, both in zip(predictions, fused, strict=True)
    ]
    right = np.mean([answer == label for answer, label in zip(answers, truth, strict=True)])
    assert tuned.chain_accuracy.low < right < tuned.chain_accuracy.high


def test_auto_takes_fusion_where_it_is_worth_it_and_leaves_it_where_it_is_not():
    assert tune_threshold(*rows(1000), fusion="auto").fusion is not None
    predictions, truth, _ = rows(1000)
    assert tune_threshold(predictions, truth, truth, fusion="auto").fusion is None


def test_auto_does_without_where_it_cannot_tell_or_would_cost_a_guarantee_its_rows():
    few, bare = rows(12), [Prediction(label="a", confidence=0.5)] * 40
    assert tune_threshold(*few, fusion="auto").fusion is None
    assert tune_threshold(bare, ["a", "b"] * 20, ["a", "b"] * 20, fusion="auto").fusion is None
    certified = tune_threshold(*rows(500), fusion="auto", objective="max_risk", max_risk=0.4)
    assert (certified.fusion, certified.n) == (None, 500)


def test_a_guarantee_is_made_on_rows_that_the_fusion_has_not_seen():
    tuned = tune_threshold(*rows(1000), fusion="posterior", objective="max_risk", max_risk=0.3)
    assert tuned.n == 500
    given = tune_threshold(*rows(1000), fusion=tuned.fusion, objective="max_risk", max_risk=0.3)
    assert given.n == 1000
    assert given.fusion is tuned.fusion


def test_match_large_compares_with_the_large_model_itself():
    data = rows(2000, large=0.85)
    tuned = tune_threshold(*data, fusion="posterior", objective="match_large")
    assert tuned.chain_accuracy.value >= tuned.large_accuracy.value
    assert tuned.escalation_rate.value < tune_threshold(*data, objective="match_large").escalation_rate.value


def test_json_brings_the_fusion_back():
    data = rows(100)
    tuned = tune_threshold(*data, fusion="posterior")
    again = TunedThreshold.from_dict(json.loads(tuned.to_json()))
    assert again.fusion.fuse(data[0], data[2]) == tuned.fusion.fuse(data[0], data[2])
    assert again.meaning == tuned.meaning


def test_an_answer_that_failed_stays_with_the_small_model():
    predictions, truth, said = rows(400)
    said = [None if row % 2 else answer for row, answer in enumerate(said)]
    tuned = tune_threshold(predictions, truth, said, fusion="posterior", objective="max_escalation", max_escalation=1.0)
    assert tuned.fusion.fuse(predictions[1:2], [None]) == predictions[1:2]


def test_too_few_rows_and_unknown_modes_are_refused():
    with pytest.raises(InvalidInputError, match="at least 20"):
        tune_threshold(*rows(10), fusion="posterior")
    with pytest.raises(ValueError, match="replace, posterior, auto"):
        tune_threshold(*rows(30), fusion="blend")


@pytest.mark.slow
def test_the_guarantee_holds_for_the_fused_chain():
    """As in test_guarantee, but each tuning set also fits the fusion that its certificate is about."""
    population = rows(20_000, seed=5)
    rng, violations, alpha, delta = np.random.default_rng(6), [], 0.22, 0.1
    for _ in range(200):
        drawn = rng.integers(20_000, size=400)
        part = tuple([column[row] for row in drawn] for column in population)
        try:
            tuned = tune_threshold(*part, fusion="posterior", objective="max_risk", max_risk=alpha, delta=delta)
        except ValueError:
            violations.append(False)  # nothing was promised
            continue
        fused = tuned.fusion.fuse(population[0][:4000], population[2][:4000])
        threshold = 2.0 if tuned.threshold is None else tuned.threshold
        right = [
            (row.label if row.confidence >= threshold else both.label) == label
            for row, both, label in zip(population[0][:4000], fused, population[1][:4000], strict=True)
        ]
        violations.append(1 - np.mean(right) > alpha)
    share = np.mean(violations)
    assert share <= delta + 3 * np.sqrt(delta * (1 - delta) / 200)
