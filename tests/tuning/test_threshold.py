from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.evaluation.curve import thinned
from dsplus_chains.schema import DSPlusError, InfeasibleTargetError, InvalidInputError, Prediction
from dsplus_chains.tuning.certify import GRID, STARTS
from dsplus_chains.tuning.threshold_tuning import tune_threshold
from dsplus_chains.tuning.tuned import TunedThreshold

ROW = st.tuples(
    st.sampled_from([None, 0.2, 0.4, 0.4, 0.7, 0.9, 1.0]), st.booleans(), st.sampled_from([True, False, None])
)
ROWS = st.lists(ROW, min_size=1, max_size=25)


def columns(rows):
    """Rows (confidence, small right, large right or None) as predictions, labels and large answers."""
    predictions = [Prediction(label="a" if small else "b", confidence=confidence) for confidence, small, _ in rows]
    large = [None if right is None else "a" if right else "c" for _, _, right in rows]
    return predictions, ["a"] * len(rows), large


def chain(rows, threshold):
    """Accuracy and escalation rate, written down as plainly as can be."""
    right = escalated = 0
    for confidence, small, large in rows:
        keep = threshold is not None and confidence is not None and confidence >= threshold
        escalated += not keep
        right += small if keep or large is None else large
    return right / len(rows), escalated / len(rows)


def simulated(n, *, seed=0, large=0.85):
    """Calibrated confidences, and a large model that is right at the same rate everywhere."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(3, 1, size=n)
    return list(
        zip(confidence.tolist(), (rng.random(n) < confidence).tolist(), (rng.random(n) < large).tolist(), strict=True)
    )


@given(ROWS)
def test_the_curve_is_what_its_thresholds_do(rows):
    tuned = tune_threshold(*columns(rows))
    for point in tuned.curve:
        accuracy, escalated = chain(rows, point.threshold)
        assert point.accuracy == pytest.approx(accuracy)
        assert point.escalation_rate == pytest.approx(escalated)
    assert tuned.curve[0].threshold is None


@given(ROWS, st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_max_escalation_finds_a_point_in_the_budget_that_chance_cannot_tell_from_the_most_accurate(rows, bound):
    every = [chain(rows, threshold) for threshold in (None, 0, 0.2, 0.4, 0.7, 0.9, 1.0)]
    within = [accuracy for accuracy, escalated in every if escalated <= bound + 1e-9]
    if not within:
        with pytest.raises(InfeasibleTargetError, match="cheapest point escalates"):
            tune_threshold(*columns(rows), objective="max_escalation", max_escalation=bound)
        return
    tuned = tune_threshold(*columns(rows), objective="max_escalation", max_escalation=bound)
    behind = (max(within) - tuned.chain_accuracy.value) * len(rows)  # in rows, each of which counts 1 either way
    assert behind <= np.sqrt(len(rows)) + 1e-9
    assert tuned.escalation_rate.value <= bound + 1e-9


@pytest.mark.parametrize(("bound", "accuracy"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (1.0, 1.0)])
def test_max_escalation_spends_as_much_as_pays_and_no_more(bound, accuracy):
    rows = [(0.9, True, False), (0.8, True, True), (0.4, False, True), (0.2, False, True)] * 25
    tuned = tune_threshold(*columns(rows), objective="max_escalation", max_escalation=bound)
    assert tuned.chain_accuracy.value == accuracy
    assert tuned.escalation_rate.value == min(bound, 0.5)


@given(ROWS)
def test_match_large_is_the_cheapest_point_that_is_not_worse(rows):
    tuned = tune_threshold(*columns(rows), objective="match_large")
    every = [chain(rows, threshold) for threshold in (None, 0, 0.2, 0.4, 0.7, 0.9, 1.0)]
    target = every[0][0]
    assert tuned.escalation_rate.value == pytest.approx(min(e for a, e in every if a >= target - 1e-9))
    assert tuned.chain_accuracy.value >= target - 1e-9


@given(ROWS, st.randoms())
def test_the_order_of_rows_changes_nothing(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert tune_threshold(*columns(rows)).threshold == tune_threshold(*columns(shuffled)).threshold


@given(ROWS, st.sampled_from([0.0, 0.4, 0.8]))
def test_a_bound_beside_another_objective_is_a_constraint(rows, bound):
    try:
        tuned = tune_threshold(*columns(rows), objective="accuracy", max_escalation=bound)
    except InfeasibleTargetError as error:
        assert error.nearest.escalation_rate > bound  # noqa: PT017
    else:
        assert chain(rows, tuned.threshold)[1] <= bound + 1e-9


@pytest.mark.parametrize("decimals", [1, 2, None])
def test_accuracy_lands_near_the_truth_and_spends_less_than_the_luckiest_point(decimals):
    thresholds = []
    for seed in range(20):
        rows = simulated(600, seed=seed, large=0.8)
        if decimals:
            rows = [(round(c, decimals), s, v) for c, s, v in rows]
        thresholds.append(tune_threshold(*columns(rows), min_gain=0).threshold)
    # The truth: keep iff the confidence is at least the large model's accuracy.
    assert np.mean(thresholds) == pytest.approx(0.8, abs=0.06)
    assert np.std(thresholds) < 0.08


def test_min_gain_is_a_price_of_a_call():
    rows = simulated(3000, large=0.8)
    rates = [tune_threshold(*columns(rows), min_gain=gain).escalation_rate.value for gain in (0, 0.05, 0.2, 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0


def test_two_separate_optima_are_not_averaged_into_the_valley_between_them():
    # Keeping only the top third or everything are both perfect; keeping two thirds is not.
    rows = [(0.9, True, True)] * 30 + [(0.6, False, True)] * 30 + [(0.3, True, False)] * 30
    tuned = tune_threshold(*columns(rows), min_gain=0)
    assert tuned.chain_accuracy.value == max(point.accuracy for point in tuned.curve)


def test_a_useless_large_model_is_never_asked_and_a_useless_small_one_never_kept():
    assert tune_threshold(*columns([(0.5, True, False)] * 20)).threshold == 0.0
    assert tune_threshold(*columns([(1.0, False, True)] * 20)).threshold is None


def test_equal_answers_are_not_paid_for():
    assert tune_threshold(*columns([(0.3, True, True), (0.6, False, False)] * 10)).escalation_rate.value == 0


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_confidence_is_deferred_at_every_threshold(missing):
    predictions = [Prediction(label="a", confidence=missing), Prediction(label=None, confidence=0.9)] * 5
    tuned = tune_threshold(predictions, ["a"] * 10, ["b"] * 10)
    assert [point.escalation_rate for point in tuned.curve] == [1.0]
    assert tuned.threshold is None


def test_a_failed_large_model_leaves_the_small_answer():
    tuned = tune_threshold(*columns([(0.5, True, None)] * 4))
    assert tuned.curve[0].accuracy == 1
    assert tuned.large_accuracy.value == 0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_thresholds_keep_the_same_rows_after_rounding_error_and_json(confidences):
    rows = [(confidence, True, False) for confidence in confidences]
    curve = json.loads(tune_threshold(*columns(rows)).to_json())["curve"]
    values = sorted(set(confidences), reverse=True)
    assert len(curve) == len(values) + 1
    for kept, point in enumerate(curve[1:], start=1):
        assert [value >= point["threshold"] for value in values] == [index < kept for index in range(len(values))]
        if kept < len(values) and values[kept - 1] - values[kept] > 1e-4:
            assert abs(np.array(values) - point["threshold"]).min() > 1e-5


def test_costs_are_those_of_the_rows():
    rows = [(0.9, True, True), (0.5, False, True), (0.1, False, True)]
    tuned = tune_threshold(*columns(rows), objective="max_cost", max_cost=1.0, large_cost=[5, 2, 7], small_cost=0.1)
    assert tuned.escalation_rate.value == pytest.approx(0)
    tuned = tune_threshold(*columns(rows), objective="max_cost", max_cost=3.1, large_cost=[5, 2, 7], small_cost=0.1)
    assert (tuned.escalation_rate.value, tuned.cost) == (pytest.approx(2 / 3), pytest.approx(3.1))
    with pytest.raises(InfeasibleTargetError, match=r"at a cost of 0\.1 an input"):
        tune_threshold(*columns(rows), objective="max_cost", max_cost=0.05, small_cost=0.1)


def test_max_risk_takes_the_cheapest_certified_point():
    tuned = tune_threshold(*columns(simulated(4000, large=0.95)), objective="max_risk", max_risk=0.08)
    certified = [point.escalation_rate for point in tuned.curve if point.certified]
    assert tuned.escalation_rate.value == min(certified) < 1
    assert tuned.chain_accuracy.value > 0.92
    assert tuned.threshold in GRID


def test_a_certified_point_beyond_a_bump_of_the_risk_is_found():
    # The large model alone misses the target, and so does every threshold near the top.
    rows = [(0.95, True, False)] * 500 + [(0.75, False, True)] * 30 + [(0.5, True, False)] * 470
    tuned = tune_threshold(*columns(rows), objective="max_risk", max_risk=0.06)
    assert not tuned.curve[0].certified
    assert tuned.escalation_rate.value == 0


@pytest.mark.parametrize("risk", ["chain", "kept"])
def test_an_infeasible_risk_names_the_nearest_point_that_is_feasible(risk):
    rows = columns(simulated(400, large=0.9))
    with pytest.raises(InfeasibleTargetError, match="the least risk that 400 rows can certify") as caught:
        tune_threshold(*rows, objective="max_risk", max_risk=0.001, risk=risk)
    error = caught.value
    assert isinstance(error, DSPlusError)
    assert isinstance(error, ValueError)
    assert error.target == {"max_risk": 0.001}
    least = float(str(error).split(" is ")[1].split(",")[0])
    again = tune_threshold(*rows, objective="max_risk", max_risk=least, risk=risk)
    assert again.threshold == error.nearest.threshold
    with pytest.raises(InfeasibleTargetError):
        tune_threshold(*rows, objective="max_risk", max_risk=least - 2e-4, risk=risk)


def test_deferring_everything_is_never_worse_than_the_large_model():
    rows = columns([(0.9, False, True)] * 50)
    tuned = tune_threshold(*rows, objective="max_risk", max_risk=0.0, risk="excess")
    assert tuned.threshold is None


def test_a_guarantee_and_a_budget_that_exclude_each_other():
    rows = columns(simulated(400, large=0.99))
    with pytest.raises(InfeasibleTargetError, match=r"max_escalation=0\.05, max_risk=0\.05") as caught:
        tune_threshold(*rows, max_escalation=0.05, max_risk=0.05)
    assert caught.value.nearest.escalation_rate <= 0.05


def test_no_rows_kept_certify_nothing():
    with pytest.raises(InfeasibleTargetError, match="certify no risk below 1"):
        tune_threshold(*columns([(None, True, True)] * 9), objective="max_risk", max_risk=0.5, risk="kept")


def test_the_grid_falls_and_the_starts_share_delta():
    numbers = [1.1 if point is None else point for point in GRID]
    assert numbers == sorted(set(numbers), reverse=True)
    assert {0.9, 0.99, 0.5, 0.01} < set(numbers)
    for shares in STARTS.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= set(GRID)


def test_the_meaning_is_one_plain_sentence():
    meaning = tune_threshold(
        *columns(simulated(1000, large=0.95)), objective="max_risk", max_risk=0.1, delta=0.1
    ).meaning
    assert "with probability at least 0.9 over the tuning rows, the whole chain" in meaning
    assert "errs on at most 10.00 % of inputs" in meaning
    assert meaning.count(". ") == 0
    assert "No answer of the small model is kept" in tune_threshold(*columns([(1.0, False, True)] * 9)).meaning


def test_the_meaning_tells_how_many_rows_the_large_model_did_not_answer():
    predictions, labels, said = columns([(0.9, True, True), (0.2, False, True)] * 10)
    assert "not answered" not in tune_threshold(predictions, labels, said).meaning
    tuned = tune_threshold(predictions, labels, [None if row % 2 == 0 else answer for row, answer in enumerate(said)])
    assert tuned.unanswered == 10
    assert "for the large model alone (the 10 that it has not answered count as wrong)" in tuned.meaning
    assert TunedThreshold.from_dict(tuned.to_dict()) == tuned


def by_label_rows(n=300):
    """The large model is good at one label and useless at the other."""
    rng = np.random.default_rng(0)
    predictions, labels, large = [], [], []
    for row in range(n):
        label, confidence = row % 2 + 1, float(rng.uniform(0.5, 1))
        right = rng.random() < confidence
        predictions.append(Prediction(label=label, confidence=confidence, probabilities={1: 0.5, 2: 0.5, 3: 0.0}))
        labels.append(label if right else 3)
        large.append(labels[-1] if label == 1 else 4)
    return predictions, labels, large


def test_a_threshold_for_each_label():
    rows = by_label_rows()
    common, tuned = tune_threshold(*rows), tune_threshold(*rows, per_label=True)
    assert set(tuned.threshold) == {1, 2, 3}
    assert tuned.threshold[2] == 0.0
    assert tuned.threshold[1] is None or tuned.threshold[1] > 0.9
    assert tuned.threshold[3] == common.threshold
    assert tuned.chain_accuracy.value > common.chain_accuracy.value
    assert "depends on its label" in tuned.meaning
    assert TunedThreshold.from_dict(json.loads(tuned.to_json())) == tuned


def test_few_rows_of_a_label_get_the_common_threshold():
    rows = by_label_rows(120)
    assert set(tune_threshold(*rows, per_label=True).threshold.values()) == {tune_threshold(*rows).threshold}


@pytest.mark.parametrize("options", [{}, {"max_risk": 0.3, "max_escalation": 1.0, "model_hash": "abc"}])
def test_json_and_back(options):
    tuned = tune_threshold(*columns(simulated(200)), **options)
    again = TunedThreshold.from_dict(json.loads(tuned.to_json()))
    assert again == tuned
    assert again.meaning == tuned.meaning
    with pytest.raises(ValueError, match="expected what to_dict"):
        TunedThreshold.from_dict({"threshold": 0.5})


def test_the_hash_tells_data_apart():
    rows = simulated(30)
    first, second = tune_threshold(*columns(rows)), tune_threshold(*columns([*rows[:-1], (0.5, True, None)]))
    assert first.data_hash == tune_threshold(*columns(rows)).data_hash != second.data_hash


@pytest.mark.parametrize("kind", [int, bool, str])
def test_labels_of_any_type_and_numpy_scalars(kind):
    values = np.array([0, 1] * 10).astype(kind)
    predictions = [Prediction(label=value, confidence=0.9) for value in values]
    assert tune_threshold(predictions, values, values).small_accuracy.value == 1


@pytest.mark.parametrize(
    ("labels", "large", "message"),
    [
        ([], [], "at least one row"),
        ([1, 2], [1], "one of each for every tuning row"),
        ([1, None], [1, 1], "no label in row 1"),
        ([1, True], [1, 1], "types bool, int"),
        ([1, 2], ["1", "2"], "large answers of type str but labels of type int"),
        (["1", "2"], ["1", "2"], "predictions of type int but labels of type str"),
    ],
)
def test_rows_that_do_not_fit_are_refused(labels, large, message):
    predictions = [Prediction(label=1, confidence=0.5) for _ in labels]
    with pytest.raises(InvalidInputError, match=message):
        tune_threshold(predictions, labels, large)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "max_risk"}, "expected max_risk=... beside it"),
        ({"objective": "f1"}, "objective='f1'"),
        ({"max_escalation": 1.5}, "Got max_escalation=1.5 but expected a number in \\[0, 1\\]"),
        ({"max_risk": -0.1}, "max_risk=-0.1"),
        ({"max_risk": math.nan}, "max_risk=nan"),
        ({"max_risk": 0.1, "delta": 0}, "delta=0"),
        ({"max_risk": 0.1, "risk": "small"}, "risk='small'"),
        ({"min_gain": 2}, "min_gain=2"),
        ({"per_label": True, "max_escalation": 0.5}, "per_label=True"),
        ({"per_label": True, "objective": "match_large"}, "per_label=True"),
        ({"large_cost": [1, 2]}, "large_cost"),
        ({"small_cost": -1}, "small_cost=-1"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tune_threshold(*columns([(0.5, True, True)]), **options)


@pytest.mark.parametrize("objective", ["accuracy", "match_large"])
def test_of_a_long_curve_two_hundred_points_are_kept_with_its_ends_and_the_chosen_one(objective):
    tuned = tune_threshold(*columns(simulated(1_500)), objective=objective)
    assert len(tuned.curve) == 200
    thresholds = [point.threshold for point in tuned.curve]
    assert thresholds[0] is None
    assert thresholds[1:] == sorted(thresholds[1:], reverse=True)
    assert (tuned.curve[0].escalation_rate, tuned.curve[-1].escalation_rate) == (1.0, 0.0)
    (chosen,) = [point for point in tuned.curve if point.threshold == tuned.threshold]
    assert chosen.accuracy == pytest.approx(tuned.chain_accuracy.value)
    assert TunedThreshold.from_dict(tuned.to_dict()) == tuned


@given(st.integers(0, 2_000), st.data())
def test_places_of_a_thinned_curve(points, data):
    chosen = data.draw(st.none() | st.integers(0, points - 1)) if points else None
    places = thinned(points, chosen=chosen)
    assert places == sorted(set(places))
    assert len(places) == min(points, 200)
    assert set(places) >= ({0, points - 1} if points else set()) | ({chosen} - {None})
