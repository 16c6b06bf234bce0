from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from dsplus_chains import (
    AnswerFusion,
    ConfidenceBranch,
    InfeasibleTargetError,
    InvalidInputError,
    Prediction,
    data_shunt,
    tune_threshold,
)
from dsplus_chains.calibration import posterior
from dsplus_chains.tuning.fused import better_of_both, is_weighing_better
from dsplus_chains.tuning.tuned import TunedThreshold
from dsplus_chains.tuning.tuning_rows import read_rows

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
    # The large model is right exactly where the small one is hardly less sure: no weight of both can tell.
    names = [LABELS[turn:] + LABELS[:turn] for turn in range(5)] * 10
    shares = ((0.55, 0.40, 0.02, 0.02, 0.01), (0.65, 0.30, 0.02, 0.02, 0.01))
    predictions = [
        Prediction(label=row[0], confidence=share[0], probabilities=dict(zip(row, share, strict=True)))
        for share in shares
        for row in names
    ]
    split = predictions, [row[2] for row in names] + [row[0] for row in names], [row[2] for row in names] * 2
    tuned = tune_threshold(*split, fusion="auto")
    assert (tuned.fusion, tuned.chain_accuracy.value) == (None, 1.0)
    assert tune_threshold(*split, fusion="posterior").chain_accuracy.value < 0.8


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


def test_rows_whose_answer_the_small_model_rules_out_teach_nothing():
    predictions, truth, said = rows(30)
    ruled_out = Prediction(label="a", confidence=1.0, probabilities={**dict.fromkeys(LABELS, 0.0), "a": 1.0})
    with pytest.raises(InvalidInputError, match="Got 2 tuning rows on which"):
        tune_threshold([*predictions[:2], *[ruled_out] * 28], truth, [*said[:2], *"b" * 28], fusion="posterior")


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


def chain_accuracy(tuned, predictions, truth, said):
    """What the chain itself is right on, on these rows: scored, branched, fused."""
    known = dict(enumerate(said))
    branch = ConfidenceBranch(large=lambda text: known[text], threshold=tuned.threshold)
    chain = branch if tuned.fusion is None else branch | tuned.fusion
    records = chain.batch([{"input": row, "prediction": found} for row, found in enumerate(predictions)])
    return np.mean([record["answer"] == label for record, label in zip(records, truth, strict=True)])


@pytest.mark.parametrize("mode", ["replace", "posterior", "auto"])
def test_tuning_judges_the_chain_as_the_chain_answers_also_where_an_answer_is_no_label(mode):
    predictions, truth, said = rows(1200)
    said = ["cannot say" if row % 4 == 0 else answer for row, answer in enumerate(said)]
    tuned = tune_threshold(predictions, truth, said, fusion=mode)
    new = rows(6000, seed=9)
    spoilt = ["cannot say" if row % 4 == 0 else answer for row, answer in enumerate(new[2])]
    found = chain_accuracy(tuned, new[0], new[1], spoilt)
    assert tuned.chain_accuracy.low - 0.01 <= found <= tuned.chain_accuracy.high + 0.01


def test_labels_come_from_all_rows_not_from_the_first():
    votes = [{"a": 1.0}, {"b": 0.8, "a": 0.2}, {"c": 0.6, "b": 0.4}] * 20
    predictions = [Prediction(label=next(iter(row)), confidence=0.5, probabilities=row) for row in votes]
    tuned = tune_threshold(predictions, ["a", "b", "c"] * 20, ["a", "b", "c"] * 20, fusion="posterior")
    assert set(tuned.fusion.labels) == {"a", "b", "c"}


def test_answers_that_are_no_labels_at_all_leave_auto_with_replace():
    predictions, truth, said = rows(100)
    assert tune_threshold(predictions, truth, ["no idea"] * 100, fusion="auto").fusion is None
    odd = [{"x": 1}, *said[1:]]
    assert tune_threshold(predictions, truth, odd, fusion="auto").n == 100


def test_a_fusion_for_other_labels_is_refused_before_any_call():
    fusion = tune_threshold(*rows(100), fusion="posterior").fusion
    stranger = Prediction(label="z", confidence=0.6, probabilities={"z": 0.6, "a": 0.4})
    with pytest.raises(ValueError, match="fit anew"):
        tune_threshold([stranger] * 30, ["z"] * 30, ["a", "z"] * 15, fusion=fusion)
    with pytest.raises(ValueError, match="fit it anew"):
        data_shunt(
            lambda _: stranger, lambda _: "a", labels=[*LABELS, "z"], instruction="?", threshold=0.5, fusion=fusion
        )


def test_what_lies_too_far_out_is_deferred_in_tuning_as_in_the_chain():
    predictions, truth, _ = rows(400)
    placed = [
        Prediction(**{**dict(row), "ood_score": None if number % 3 == 0 else number % 3 / 10})
        for number, row in enumerate(predictions)
    ]
    tuned = tune_threshold(placed, truth, truth, objective="max_escalation", max_escalation=1.0, max_ood_score=0.1)
    assert tuned.escalation_rate.value >= 2 / 3
    assert "within 0.1 of the training examples" in tuned.meaning
    assert TunedThreshold.from_dict(tuned.to_dict()) == tuned


def test_a_target_that_only_match_large_makes_impossible_is_told():
    predictions, truth, _ = rows(60)
    with pytest.raises(InfeasibleTargetError, match=r"objective='match_large', max_escalation=0\.1, but no point"):
        tune_threshold(predictions, truth, truth, objective="match_large", max_escalation=0.1)


def test_json_gives_back_an_equal_result_and_says_who_fitted_the_weights():
    tuned = tune_threshold(*rows(300), fusion="posterior", objective="max_risk", max_risk=0.5)
    assert TunedThreshold.from_dict(json.loads(tuned.to_json())) == tuned
    assert "150 others fitted the weights" in tuned.meaning


def test_a_large_model_that_knows_when_it_is_right_is_worth_more():
    rng = np.random.default_rng(3)
    predictions, truth, _ = rows(1500)
    sure = rng.random(1500) < 0.5
    said = [
        label if rng.random() < (0.97 if known else 0.35) else LABELS[rng.integers(5)]
        for label, known in zip(truth, sure, strict=True)
    ]
    confidences = np.where(sure, 0.95, 0.5).tolist()
    deaf = tune_threshold(predictions, truth, said, fusion="posterior")
    heard = tune_threshold(predictions, truth, said, fusion="posterior", large_confidences=confidences)
    assert heard.chain_accuracy.value > deaf.chain_accuracy.value + 0.01
    with pytest.raises(InvalidInputError, match="1 large confidences"):
        tune_threshold(predictions, truth, said, large_confidences=[0.5])


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (51, 49), (41, 59), (39, 61)])
def test_weighing_both_yields_only_to_one_ahead_by_more_than_two_standard_errors(better, worse):
    row = np.arange(1000)  # of 100 rows that differ one standard error is 10
    weighed, replaced = row < better, (row >= better) & (row < better + worse)
    assert is_weighing_better(weighed, replaced) == (better != 39)


@pytest.mark.parametrize(
    ("settings", "price"), [({"min_gain": 0.03}, 0.03), ({"objective": "max_escalation", "max_escalation": 0.3}, 0)]
)
def test_what_a_chain_is_worth_is_less_by_the_price_of_its_calls(settings, price, monkeypatch):
    compared = []

    def recorded(tune, **options):
        compared.extend(tune(mode) for mode in ("replace", "posterior"))
        return better_of_both(tune, **options)

    monkeypatch.setattr("dsplus_chains.tuning.threshold_tuning.better_of_both", recorded)
    tune_threshold(*rows(300, seed=2), fusion="auto", **settings)
    for result, worth in compared:
        expected = result.chain_accuracy.value - price * result.escalation_rate.value
        assert worth.shape == (300,)
        assert worth.mean() == pytest.approx(expected)


def test_auto_that_has_to_match_the_large_model_is_the_cheaper_one():
    data = rows(600, seed=2)
    by_mode = {
        mode: tune_threshold(*data, objective="match_large", fusion=mode) for mode in ("auto", "replace", "posterior")
    }
    assert by_mode["auto"].cost == min(by_mode["replace"].cost, by_mode["posterior"].cost)


def test_auto_within_a_budget_is_no_worse_on_other_rows_than_either_alone():
    def right(tuned, data):
        predictions, truth, said = data
        if tuned.fusion is not None:
            said = [both.label for both in tuned.fusion.fuse(predictions, said)]
        kept = [row.confidence >= tuned.threshold for row in predictions]
        answers = [row.label if sure else a for row, sure, a in zip(predictions, kept, said, strict=True)]
        return np.mean([answer == label for answer, label in zip(answers, truth, strict=True)])

    found = {"auto": [], "replace": [], "posterior": []}
    for seed in range(8):
        data, others = rows(200, seed=seed, large=0.8), rows(1500, seed=100 + seed, large=0.8)
        for mode, values in found.items():
            tuned = tune_threshold(*data, objective="max_escalation", max_escalation=0.3, fusion=mode)
            values.append(right(tuned, others))
    assert np.mean(found["auto"]) > max(np.mean(found["replace"]), np.mean(found["posterior"])) - 0.002


def test_auto_is_refused_only_where_both_are():
    predictions, truth, _ = rows(60)
    with pytest.raises(InfeasibleTargetError, match="match_large"):
        tune_threshold(predictions, truth, truth, objective="match_large", max_escalation=0.1, fusion="auto")


def test_what_deferring_is_worth_is_what_both_models_make_of_a_row_not_whether_luck_was_with_it():
    unsure = Prediction(label="a", confidence=0.6, probabilities={"a": 0.6, "b": 0.4})
    weighed = [
        Prediction(label="b", confidence=0.7, probabilities={"a": 0.3, "b": 0.7}),  # overrules the small model
        Prediction(label="a", confidence=0.9, probabilities={"a": 0.9, "b": 0.1}),  # agrees: nothing is gained
        None,  # the large model failed: the small one stands
    ]
    plain = read_rows([unsure] * 3, ["a", "b", "a"], ["b", "b", None], costs=np.ones(3))
    assert plain.gains.tolist() == [-1, 1, 0]
    fused = plain.fused(weighed, trusted=True)
    assert fused.gains.tolist() == pytest.approx([0.4, 0, 0])
    assert fused.deferred_right.tolist() == [False, False, True]  # what is reported stays what was counted


def test_the_threshold_of_a_fused_chain_varies_less_than_one_from_counts():
    def chosen(fusion):
        tuned = [tune_threshold(*rows(300, seed=seed), fusion=fusion, min_gain=0.02) for seed in range(12)]
        return np.std([one.escalation_rate.value for one in tuned])

    assert chosen("posterior") < chosen("replace")


def test_a_fusion_from_elsewhere_is_judged_by_the_labels_of_these_rows():
    fusion = AnswerFusion.fit(*rows(500, seed=1, large=0.97))
    tuned = tune_threshold(*rows(500, seed=2, large=0.1), fusion=fusion)  # here the large model is hardly ever right
    assert tuned.chain_accuracy.value > max(point.accuracy for point in tuned.curve) - 0.02


def test_a_prediction_without_a_label_is_deferred_and_breaks_nothing():
    predictions, truth, said = rows(60)
    predictions[0] = Prediction(label=None, confidence=None, probabilities=predictions[0].probabilities)
    tuned = tune_threshold(predictions, truth, said, fusion="posterior")
    assert tuned.n == 60


def test_columns_of_a_data_frame_with_an_index_of_its_own_are_rows_like_any_other():
    predictions, truth, said = rows(200)
    frame = pd.DataFrame({"p": predictions, "y": truth, "said": said, "sure": 0.9}, index=range(500, 700))
    fusion = AnswerFusion.fit(frame["p"], frame["y"], frame["said"], large_confidences=frame["sure"])
    plain = AnswerFusion.fit(predictions, truth, said, large_confidences=[0.9] * 200)
    assert fusion.posterior.to_dict() == plain.posterior.to_dict()
    assert fusion.weigh(frame["p"], frame["said"], frame["sure"]) == fusion.weigh(predictions, said, [0.9] * 200)
    assert fusion.fuse(frame["p"], frame["said"])[0] == fusion.fuse(predictions, said)[0]


def test_the_smoothing_is_chosen_once_and_not_by_each_fold(monkeypatch):
    fits = []

    def watched(*given):
        fits.append(1)
        return fit_weights(*given)

    fit_weights = posterior._fit_weights
    monkeypatch.setattr(posterior, "_fit_weights", watched)
    tune_threshold(*rows(200), fusion="posterior")
    assert len(fits) == 10 + 10
