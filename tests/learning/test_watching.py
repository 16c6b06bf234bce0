"""Watching a chain: what has changed beyond chance, what is worth a label, and what an audit says of all inputs."""

from __future__ import annotations

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import TinyEncoder
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact, ttest_ind

from dsplus_chains import Bundle, ExperienceStore, Prediction, SmallModelScorer, tune_threshold
from dsplus_chains.calibration.intervals import wilson_interval
from dsplus_chains.learning import audit_weights, audited_error, least_sure, watch
from dsplus_chains.learning.changes import change_of_mean, change_of_share, check_calibration
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.schema import InvalidInputError, TrainingDataWarning

WORDS = {"card": "visa plastic chip pin", "loan": "credit debt rate sum", "rent": "flat house room lease"}
LABELS = list(WORDS)


def texts_of(n, seed):
    rng = np.random.default_rng(seed)
    labels = [LABELS[number] for number in rng.integers(0, 3, n)]
    return [f"{' '.join(rng.choice(WORDS[label].split(), 3))} {row}" for row, label in enumerate(labels)], labels


@pytest.fixture(scope="module")
def bundle():
    texts, labels = texts_of(90, 1)
    scorer = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(dimensions=256))
    tuned = tune_threshold(scorer.out_of_fold, labels, labels, texts=texts, fusion="posterior")
    return Bundle(scorer=scorer, tuned=tuned, instruction="Which?")


def decision(number, *, confidence=0.9, source="small", large=None, fused=None, ood=0.2, model=None, **more):
    prediction = Prediction(label="card", confidence=confidence, ood_score=ood)
    return Experience(
        text=f"text {number}", text_hash=hash_of_input(f"text {number}"), prediction=prediction, large=large,
        fused=fused, answer="card", source=source, time=float(number), model_hash=model, **more
    )  # fmt: skip


# What has changed


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40))
def test_shares_have_wilson_intervals_and_fishers_test(k, m, n, before):
    k, m = min(k, n), min(m, before)
    found = change_of_share([True] * k + [False] * (n - k), [True] * m + [False] * (before - m))
    interval = wilson_interval(k, n)
    assert (found.recent.value, found.recent.low, found.recent.high) == (k / n, interval.low, interval.high)
    assert found.p_value == pytest.approx(min(1.0, fisher_exact([[k, n - k], [m, before - m]]).pvalue))


def test_nothing_is_no_change():
    for found in (change_of_share([], [True]), change_of_share([True], []), change_of_mean([], [0.5] * 50)):
        assert found.p_value == 1.0
        assert not found.rises
    assert change_of_share([], []).recent.value is None
    assert (change_of_mean([0.4], []).recent.low, change_of_mean([0.4], []).recent.high) == (0.0, 1.0)


def test_means_have_welchs_test():
    rng = np.random.default_rng(0)
    now, then = rng.beta(8, 2, 60), rng.beta(9, 2, 300)
    found = change_of_mean(now, then)
    assert found.p_value == pytest.approx(ttest_ind(now, then, equal_var=False).pvalue)
    assert found.recent.low < now.mean() < found.recent.high
    assert change_of_mean(now[:19], then).p_value == 1.0  # too few to tell


def test_constant_values_are_the_same_or_not():
    assert change_of_mean([0.5] * 30, [0.5] * 40).p_value == 1.0
    assert change_of_mean([0.5] * 30, [0.6] * 40).p_value == 0.0


def test_equal_confidences_are_checked_by_the_binomial_distribution():
    found = check_calibration([0.8] * 40, [True] * 25 + [False] * 15)
    assert found.p_value == pytest.approx(2 * binom.cdf(25, 40, 0.8))
    assert (found.low, found.high) == (binom.ppf(0.025, 40, 0.8) / 40, binom.ppf(0.975, 40, 0.8) / 40)


def test_unequal_confidences_are_checked_by_all_outcomes():
    sure = [0.9, 0.6, 0.75, 0.99]
    chances = np.zeros(5)
    for outcome in product([0, 1], repeat=4):
        chances[sum(outcome)] += np.prod([p if hit else 1 - p for p, hit in zip(sure, outcome, strict=True)])
    for n_right in range(5):
        found = check_calibration(sure, [True] * n_right + [False] * (4 - n_right))
        expected = 2 * min(chances[: n_right + 1].sum(), chances[n_right:].sum())
        assert found.p_value == pytest.approx(min(1.0, expected))
    assert check_calibration([], []).p_value == 1.0


# The report


def test_a_steady_chain_raises_no_alarm(bundle):
    rng = np.random.default_rng(3)
    rows = []
    for number in range(600):
        asked = rng.random() < 0.3
        told = {"source": "fused", "large": str(rng.choice(["card", "loan"])), "fused": {"card": 0.8, "loan": 0.2}}
        rows.append(decision(number, confidence=rng.beta(9, 1), **(told if asked else {})))
    found = watch(bundle, rows, window=200)
    assert (found.recent, found.before, found.since) == (200, 400, 400.0)
    assert found.alarms == ()
    assert not found.recalibration_due
    assert found.escalation_rate.recent.value == np.mean([row.source == "fused" for row in rows[400:]])


def test_what_changes_is_told(bundle):
    before = [decision(number, source="fused" if number % 10 == 0 else "small", large="card") for number in range(300)]
    recent = [
        decision(number, confidence=0.6 + number % 2 / 10, source="large", large="loan", ood=0.999)
        for number in range(300, 400)
    ]
    found = watch(bundle, [*recent, *before], window=100)  # in whatever order they come
    told = " ".join(found.alarms)
    assert found.escalation_rate.rises
    assert not found.confidence.rises
    for name, verb in {
        "escalation rate": "rises", "mean confidence": "falls", "disagreement": "rises",
        "far inputs": "rises", "shift since training": "rises",
    }.items():  # fmt: skip
        assert f"The figure '{name}' {verb}" in told
    assert "estimated error" not in told  # the large model's answers stand, and nothing tells how often they are right
    assert json.loads(json.dumps(found.to_dict()))["alarms"] == list(found.alarms)


def test_an_answer_that_is_written_otherwise_is_no_disagreement(bundle):
    said = ["Card.", "It is card.", "loan", "who knows"] * 5
    rows = [decision(number, source="large", large=one) for number, one in enumerate(said)]
    with pytest.warns(TrainingDataWarning, match="5 of 20 answers .*'who knows'"):
        found = watch(bundle, rows, window=8)
    assert (found.disagreement.recent.value, found.disagreement.recent.n) == (1 / 3, 6)


def test_the_estimated_error_is_that_of_the_answers(bundle):
    def rows(first):
        told = [
            {"confidence": 0.9},
            {"confidence": 0.5, "source": "fused", "large": "loan", "fused": {"card": 0.3, "loan": 0.7}},
            {"confidence": 0.8, "source": "fallback"},
            {"confidence": 0.4, "source": "large", "large": "loan"},
        ]
        return [decision(first + number, **row) for number, row in enumerate(told)]

    found = watch(bundle, rows(0) + rows(4), window=4)
    assert found.error.recent.value == pytest.approx((0.1 + 0.3 + 0.2) / 3)
    assert found.error.recent.n == 3
    assert found.escalation_rate.recent.value == 0.75


def test_only_decisions_of_this_small_model_count(bundle):
    own = bundle.scorer.model_hash
    rows = [decision(number, model=own if number % 2 else "another") for number in range(40)]
    found = watch(bundle, rows)
    assert (found.recent, found.before, found.others) == (10, 10, 20)
    with pytest.raises(InvalidInputError, match="Got 0 decisions of this small model, and 20 of others"):
        watch(bundle, [row for row in rows if row.model_hash != own])


def test_true_labels_tell_when_to_recalibrate(bundle):
    def rows(share_right, origin="audit"):
        told = [
            decision(number, gold="card" if number < 100 * share_right else "loan", gold_origin=origin)
            for number in range(100)
        ]
        return [*told, *told]  # a text counts once

    found = watch(bundle, rows(0.7))
    assert found.recalibration_due
    assert found.calibration.accuracy.n == 100
    assert "right on 70.0 % of 100 labelled inputs" in found.alarms[-1]
    assert not watch(bundle, rows(0.9)).recalibration_due
    for origin in ("label", "correction"):  # these are there because the answer was doubted
        assert watch(bundle, rows(0.2, origin)).calibration.accuracy.n == 0


def test_a_model_without_neighbours_has_no_distances():
    texts, labels = texts_of(30, 2)
    scorer = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model="linear")
    found = watch(Bundle(scorer=scorer, instruction="Which?"), [decision(number) for number in range(10)])
    assert (found.far, found.shift) == (None, None)
    assert "far inputs" not in found.changes


@pytest.mark.parametrize("wrong", [{"window": 0}, {"alpha": 0.0}, {"alpha": 1.0}])
def test_settings_out_of_range_are_refused(bundle, wrong):
    with pytest.raises(InvalidInputError, match=r"expected an integer of at least 1|expected a number between 0 and 1"):
        watch(bundle, [decision(number) for number in range(10)], **wrong)


@pytest.mark.slow
def test_an_unchanged_chain_seldom_alarms(bundle):
    """At alpha 0.05, no more than about one report in 20."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        rows = []
        for number in range(240):
            sure = float(rng.beta(6, 1))
            label = "card" if rng.random() < sure else "loan"
            large = str(rng.choice(LABELS)) if sure < 0.8 else None
            rows.append(
                decision(number, confidence=sure, source="small" if large is None else "large", large=large, gold=label)
            )
        alarms += bool(watch(bundle, rows, window=80, alpha=0.05).alarms)
    assert alarms <= 18  # P(more | 5 %) < 1 %


# What is worth a label


@pytest.fixture
def store(bundle):
    texts, labels = texts_of(60, 5)
    with ExperienceStore(":memory:") as opened:
        for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
            said = label if row % 3 else "loan"
            view = bundle.scorer.invoke(text)["prediction"]
            opened.record(
                {"input": text, "prediction": view, "answer": said, "source": "large", "large": said_by(said)}
            )
        yield SimpleNamespace(store=opened, texts=texts)


def said_by(label):
    from dsplus_chains.schema import LargeAnswer

    return LargeAnswer(value=label)


def test_the_least_sure_rows_come_first_and_labelled_ones_not_at_all(bundle, store):
    found = least_sure(bundle, store.store, 20)
    assert len(found) == 20
    sure = [doubt.both.confidence for doubt in found]
    assert sure == sorted(sure)
    whole = least_sure(bundle, store.store, 1000)
    assert [doubt.row.text for doubt in whole[:20]] == [doubt.row.text for doubt in found]
    assert max(sure) <= min(doubt.both.confidence for doubt in whole[20:])
    expected = bundle.fusion.fuse([found[0].small], [found[0].large])[0]
    assert found[0].both == expected
    store.store.attach(found[0].row, "card", origin="label")
    assert found[0].row.text not in {doubt.row.text for doubt in least_sure(bundle, store.store, 1000)}


def test_rows_that_the_bundle_has_labels_of_are_left_out(bundle):
    texts, labels = texts_of(90, 1)
    known = [
        Experience(text=text, text_hash=hash_of_input(text), large=label, time=0.0)
        for text, label in zip([*texts, "visa chip pin new"], [*labels, "card"], strict=True)
    ]
    assert [doubt.row.text for doubt in least_sure(bundle, known)] == ["visa chip pin new"]
    assert least_sure(bundle, []) == []


def test_a_label_finds_its_row_whatever_is_kept_of_the_text():
    for settings in ({"redact": lambda _: "***"}, {"keep_text": False}):
        with ExperienceStore(":memory:", **settings) as opened:
            opened.record({"input": "call me", "prediction": None, "answer": "card", "source": "large"})
            row = next(opened.rows())
            opened.attach(row, "loan", origin="label")
            (after,) = opened.rows()
            assert (after.gold, after.gold_origin, after.text) == ("loan", "label", row.text)
            with pytest.raises(InvalidInputError, match="no label"):
                opened.attach(row, None)


# The audit


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 1))
def test_an_audit_takes_its_share_and_more_of_what_is_less_sure(confidences, part):
    chances = audit_weights(confidences, part)
    assert chances.sum() == pytest.approx(part * len(confidences))
    assert ((chances > 0) & (chances <= 1)).all()
    held = np.clip(confidences, 0.01, 0.99)
    spread = np.sqrt(held * (1 - held))
    is_open = chances < 1
    ratios = chances[is_open] / spread[is_open]
    assert np.allclose(ratios, ratios[:1].sum())
    assert (spread[~is_open] * ratios[:1].sum() >= 1 - 1e-9).all() or not is_open.any()


def test_the_estimate_of_an_audit_is_right_on_average():
    """By every possible choice, with its chance."""
    wrong, chances = np.array([True, False, True, False, False]), np.array([0.5, 0.25, 0.125, 1.0, 0.75])
    mean = 0.0
    for choice in product([False, True], repeat=5):
        chosen = np.array(choice)
        estimate = (wrong[chosen] / chances[chosen]).sum() / 5  # what the function caps at 1
        if estimate <= 1 and chosen.any():
            assert audited_error(wrong[chosen], chances[chosen], 5).value == pytest.approx(estimate)
        mean += np.where(chosen, chances, 1 - chances).prod() * estimate
    assert mean == pytest.approx(wrong.mean())


def test_an_audit_of_all_inputs_is_exact_and_one_of_none_says_nothing():
    found = audited_error([True, False, False, False], [1.0] * 4, 4)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    nothing = audited_error([], [], 100)
    assert (nothing.value, nothing.low, nothing.high) == (None, 0.0, 1.0)
    clean = audited_error([False] * 50, [0.1] * 50, 500)
    assert (clean.value, clean.low) == (0.0, 0.0)
    assert 0.05 < clean.high < 0.08  # like the rule of three


@pytest.mark.parametrize("errs", ["as expected", "twice as often", "where it is surest"])
def test_the_interval_of_an_audit_holds(errs):
    rng = np.random.default_rng(7)
    held, rounds, means = 0, 400, []
    for _ in range(rounds):
        sure = 0.6 + 0.4 * rng.beta(8, 1, 1000)
        chance = {
            "as expected": 1 - sure,
            "twice as often": np.minimum(1, 2 * (1 - sure)),
            "where it is surest": np.where(sure > 0.97, 0.06, 0.02),
        }[errs]
        wrong = rng.random(1000) < chance
        weights = audit_weights(sure, 0.1)
        chosen = rng.random(1000) < weights
        found = audited_error(wrong[chosen], weights[chosen], 1000)
        held += found.low <= wrong.mean() <= found.high
        means.append(found.value - wrong.mean())
    assert held >= 0.93 * rounds  # 95 % less two standard errors
    assert abs(np.mean(means)) < 3 * np.std(means) / rounds**0.5


@pytest.mark.parametrize(
    ("wrong", "chances", "n"),
    [([True], [0.5, 0.5], 9), ([True], [0.0], 9), ([True], [1.1], 9), ([True] * 3, [1.0] * 3, 2)],
)
def test_an_audit_that_cannot_be_is_refused(wrong, chances, n):
    with pytest.raises(InvalidInputError, match="one probability in"):
        audited_error(wrong, chances, n)


@pytest.mark.parametrize("wrong", [["wrong", "right"], [None, True], [float("nan"), 1.0], [2, 0]])
def test_what_tells_not_whether_an_input_was_wrong_is_not_counted(wrong):
    with pytest.raises(InvalidInputError, match="expected True or False"):
        audited_error(wrong, [0.5, 0.5], 4)


@pytest.mark.parametrize("wrong", [[1, 0], [1.0, 0.0], np.array([True, False]), [np.True_, False]])
def test_ones_and_zeros_are_truth_values(wrong):
    assert audited_error(wrong, [0.5, 0.5], 4).value == 0.5


@pytest.mark.parametrize(
    ("confidences", "part"), [([0.5], 0.0), ([0.5], 1.5), ([0.5], "x"), ([1.5], 0.5), ([float("nan")], 0.5)]
)
def test_weights_of_what_cannot_be_are_refused(confidences, part):
    with pytest.raises(InvalidInputError, match="expected a share in"):
        audit_weights(confidences, part)


def test_a_level_is_a_share_and_a_look_at_few_is_no_certainty():
    found = audited_error([True, False], [1.0, 1.0], 100)
    assert found.low < found.value < found.high
    for level in (-1, 2):
        with pytest.raises(ValueError, match="level"):
            audited_error([True], [0.5], 10, level=level)
        with pytest.raises(ValueError, match="level"):
            check_calibration([0.9, 0.8], [True, False], level=level)


def test_a_report_is_a_plot_with_its_alarms(bundle):
    pytest.importorskip("matplotlib")
    rows = [decision(number, confidence=0.9) for number in range(60)]
    rows += [decision(number, confidence=0.3, source="large", large="card") for number in range(60, 120)]
    found = watch(bundle, rows, window=60)
    (axes,) = found.plot().axes
    assert {tick.get_text() for tick in axes.get_yticklabels()} == set(found.changes) - {
        "disagreement",
        "estimated error",
    }
    drawn = {bars.get_label(): bars.lines[0].get_xdata()[0] for bars in axes.containers}
    assert drawn["now: alarm"] == 1.0  # the escalation rate comes first
    assert set(found.changed) == {"escalation rate", "mean confidence"}
