from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from dsplus_chains.calibration import posterior
from dsplus_chains.calibration.posterior import Posterior, answer_likelihood, confusability, fit_posterior

N_LABELS = 6


def both_models(n, *, seed=0, small=0.7, large=0.8):
    """A calibrated small model and a large one that takes label 1 for label 0 every second time."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(N_LABELS, size=n)
    logits = rng.normal(size=(n, N_LABELS))
    logits[np.arange(n), truth] += 2 * small
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    answers = np.where(rng.random(n) < large, truth, rng.integers(N_LABELS, size=n))
    return logs, truth, np.where((truth == 1) & (rng.random(n) < 0.5), 0, answers)


@given(st.integers(1, 8), st.floats(0.1, 1e6), st.integers(0, 2**32 - 1))
def test_each_label_has_a_distribution_over_answers(n_labels, smoothing, seed):
    counts = np.random.default_rng(seed).integers(0, 5, size=(n_labels, n_labels))
    table = answer_likelihood(counts, smoothing)
    assert (table > 0).all()
    assert table.sum(axis=1) == pytest.approx(np.ones(n_labels))


def test_much_data_gives_the_rates_and_none_the_average_label():
    counts = np.array([[800, 200, 0], [0, 900, 100], [0, 0, 0]])
    assert answer_likelihood(counts, 1.0)[:2].round(2).tolist() == [[0.8, 0.2, 0], [0, 0.9, 0.1]]
    assert answer_likelihood(counts, 1.0)[2, 2] == pytest.approx(1701 / 2002)


def test_without_weights_it_is_bayes_by_hand():
    counts = np.array([[8, 2], [1, 9]])
    posterior = Posterior(
        counts=counts,
        smoothing=1e-9,
        small_weights=(1.0, 1.0),
        large_weights=(1.0, 1.0),
        confusable=1 - np.eye(2),
        confusable_share=0.0,
    )
    found = np.exp(posterior.log_proba(np.log([[0.4, 0.6]]), np.array([0])))
    assert found.tolist() == [[pytest.approx(0.4 * 0.8 / (0.4 * 0.8 + 0.6 * 0.1)), pytest.approx(0.06 / 0.38)]]


def test_fused_answers_are_more_often_right_than_either_model_alone():
    logs, truth, answers = both_models(4000)
    train, test = slice(0, 2000), slice(2000, None)
    posterior = fit_posterior(logs[train], truth[train], answers[train])
    fused = posterior.log_proba(logs[test], answers[test])
    right = (fused.argmax(axis=1) == truth[test]).mean()
    assert right > max((logs[test].argmax(axis=1) == truth[test]).mean(), (answers[test] == truth[test]).mean()) + 0.03
    confidence = np.exp(fused.max(axis=1))
    assert confidence.mean() == pytest.approx(right, abs=0.03)


def test_it_learns_that_an_answer_stands_for_another_label():
    posterior = fit_posterior(*both_models(4000))
    undecided = np.full((1, N_LABELS), -np.log(N_LABELS))
    assert np.exp(posterior.log_proba(undecided, np.array([0])))[0, 1] > 0.2
    assert np.exp(posterior.log_proba(undecided, np.array([3])))[0, 1] < 0.1


def test_an_answer_that_failed_leaves_the_small_models_ranking():
    logs, truth, answers = both_models(300)
    posterior = fit_posterior(logs, truth, answers)
    unheard = posterior.log_proba(logs, np.full(300, -1))
    assert (unheard.argmax(axis=1) == logs.argmax(axis=1)).all()


def test_a_large_model_that_guesses_is_not_heard():
    logs, truth, _ = both_models(2000)
    guesses, others = np.random.default_rng(9).integers(N_LABELS, size=(2, 2000))
    posterior = fit_posterior(logs, truth, guesses)
    fused, told_otherwise = (posterior.log_proba(logs, said).argmax(axis=1) for said in (guesses, others))
    assert (fused == told_otherwise).mean() > 0.98


def test_where_weights_need_not_move_it_is_a_logistic_regression():
    """With two labels and one shared error rate the model is logistic in two log-odds; scikit-learn as the oracle."""
    rng = np.random.default_rng(3)
    truth = rng.integers(2, size=3000)
    margin = (2 * truth - 1) + rng.normal(size=3000)
    logs = -np.logaddexp(0.0, np.stack([2 * margin, -2 * margin], axis=1))
    answers = np.where(rng.random(3000) < 0.8, truth, 1 - truth)
    posterior = fit_posterior(logs, truth, answers)
    told = posterior.evidence[answers]
    features = np.stack([logs[:, 1] - logs[:, 0], told[:, 1] - told[:, 0]], axis=1)
    oracle = LogisticRegression(C=1e9, fit_intercept=False).fit(features, truth).predict_proba(features)
    assert np.abs(np.exp(posterior.log_proba(logs, answers)) - oracle).mean() < 0.01


def test_the_small_model_weighs_less_and_the_large_one_more_where_the_small_one_knows_nothing():
    rng = np.random.default_rng(6)
    n = 3000
    truth, lost = rng.integers(N_LABELS, size=n), rng.random(n) < 0.5
    logits = rng.normal(size=(n, N_LABELS)) * np.where(lost, 1.0, 2.0)[:, None]  # of a lost row only noise
    logits[~lost, truth[~lost]] += 5
    logs = log_softmax(logits, axis=1)
    answers = np.where(rng.random(n) < np.where(lost, 0.8, 0.5), truth, rng.integers(N_LABELS, size=n))
    posterior = fit_posterior(logs, truth, answers)
    assert posterior.small_weights[1] < posterior.small_weights[0] - 0.3
    assert posterior.large_weights[1] > posterior.large_weights[0] + 0.3


def test_what_is_expected_of_a_label_without_rows_are_its_lookalikes():
    confusable = np.array([[0, 0.9, 0.1], [0.9, 0, 0.1], [0.5, 0.5, 0]])
    table = answer_likelihood(np.zeros((3, 3)), 10.0, confusable, share=0.8)  # half right; 0.8 * 0.9 + 0.2 / 2
    assert table.round(3).tolist() == [[0.5, 0.41, 0.09], [0.41, 0.5, 0.09], [0.25, 0.25, 0.5]]


@given(st.integers(1, 8), st.floats(0.1, 1e6), st.integers(0, 2**32 - 1))
def test_lookalikes_leave_distributions(n_labels, smoothing, seed):
    rng = np.random.default_rng(seed)
    confusable = confusability(log_softmax(rng.normal(scale=5, size=(9, n_labels)), axis=1))
    assert (np.diag(confusable) == 0).all()
    table = answer_likelihood(rng.integers(0, 5, size=(n_labels, n_labels)), smoothing, confusable, share=0.8)
    assert table.sum(axis=1) == pytest.approx(np.ones(n_labels))
    assert (table > 0).all()


@pytest.mark.parametrize("alike", [True, False])
def test_what_both_models_confuse_is_learned_from_few_rows_a_label_and_only_where_it_is_so(alike):
    """40 labels in pairs that the small model confuses: what 80 rows cannot count, its own doubts tell."""
    rng = np.random.default_rng(2)
    n, n_labels = 3080, 40
    truth = rng.integers(n_labels, size=n)
    logits = rng.normal(size=(n, n_labels))
    rows = np.arange(n)
    logits[rows, truth] += 5
    logits[rows, truth ^ 1] += 5 - 1.5 * rng.random(n)
    mistaken = truth ^ 1 if alike else (truth + rng.integers(2, n_labels, size=n)) % n_labels
    answers = np.where(rng.random(n) < 0.6, truth, mistaken)
    logs = log_softmax(logits, axis=1)
    learned = fit_posterior(logs[:80], truth[:80], answers[:80])
    assert learned.confusable_share == (0.8 if alike else 0)
    other = replace(learned, confusable_share=0.8 - learned.confusable_share)
    losses = [
        -found.log_proba(logs[80:], answers[80:])[np.arange(n - 80), truth[80:]].mean() for found in (learned, other)
    ]
    assert losses[0] < losses[1] - 0.05


def test_twenty_rows_of_fifty_labels_do_no_harm():
    rng = np.random.default_rng(7)
    truth = rng.integers(50, size=2000)
    logits = rng.normal(size=(2000, 50))
    logits[np.arange(2000), truth] += 3.5
    logs = log_softmax(logits, axis=1)
    answers = np.where(rng.random(2000) < 0.8, truth, rng.integers(50, size=2000))
    posterior = fit_posterior(logs[:20], truth[:20], answers[:20])
    fused = (posterior.log_proba(logs, answers).argmax(axis=1) == truth).mean()
    assert fused > max((logs.argmax(axis=1) == truth).mean(), (answers == truth).mean()) + 0.03


def test_one_label_and_a_certain_small_model_stay_finite():
    one = fit_posterior(np.zeros((5, 1)), np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64))
    assert one.log_proba([[0.0]], np.array([0])).tolist() == [[0.0]]
    certain = np.log(np.maximum(np.eye(3), 1e-12))[[0, 1, 2] * 10]
    truth = np.array([0, 1, 2] * 10)
    assert np.isfinite(fit_posterior(certain, truth, truth).log_proba(certain, truth)).all()


def test_a_sure_large_model_weighs_more_where_its_confidence_tells():
    logs, truth, _ = both_models(3000)
    rng = np.random.default_rng(4)
    sure = rng.random(3000) < 0.5
    answers = np.where(rng.random(3000) < np.where(sure, 0.95, 0.4), truth, rng.integers(N_LABELS, size=3000))
    confidences = np.where(sure, 0.95, 0.5)
    posterior = fit_posterior(logs, truth, answers, confidences)
    assert posterior.confidence_weight > 0.1
    deaf = fit_posterior(logs, truth, answers)
    heard = posterior.log_proba(logs, answers, confidences).argmax(axis=1) == truth
    assert heard.mean() > (deaf.log_proba(logs, answers).argmax(axis=1) == truth).mean()
    assert np.isfinite(posterior.log_proba(logs[:1], answers[:1], np.array([np.nan]))).all()


def test_json_brings_it_back_exactly():
    logs, truth, answers = both_models(200)
    posterior = fit_posterior(logs, truth, answers)
    again = Posterior.from_dict(json.loads(json.dumps(posterior.to_dict())))
    assert (again.log_proba(logs, answers) == posterior.log_proba(logs, answers)).all()


def test_no_answer_at_all_is_refused():
    with pytest.raises(ValueError, match="no row that the large model answered"):
        fit_posterior(np.zeros((3, 2)), np.zeros(3, dtype=np.int64), np.full(3, -1))


def weights(fitted):
    return [*fitted.small_weights, *fitted.large_weights, fitted.confidence_weight]


def test_beyond_ten_thousand_rows_the_weights_are_those_of_a_sample_and_all_rows_are_counted(monkeypatch):
    small, truth, said = both_models(3_000)
    whole = fit_posterior(small, truth, said)
    judged = []

    def watched(parts, *others):
        judged.append(parts.shape[1])
        return fit_weights(parts, *others)

    fit_weights = posterior._fit_weights
    monkeypatch.setattr(posterior, "_fit_weights", watched)
    monkeypatch.setattr(posterior, "MOST_ROWS", 1_000)
    some = fit_posterior(small, truth, said)
    assert judged == [1_000] * 10
    assert (some.counts == whole.counts).all()
    assert some == fit_posterior(small, truth, said)
    np.testing.assert_allclose(
        some.small_weights + some.large_weights, whole.small_weights + whole.large_weights, atol=0.3
    )


def test_a_fit_like_another_takes_its_smoothing_and_finds_the_same_weights():
    small, truth, said = both_models(600)
    first, (others, other_truth, other_said) = fit_posterior(small, truth, said), both_models(600, seed=1)
    like = fit_posterior(others, other_truth, other_said, like=first)
    assert (like.smoothing, like.confusable_share) == (first.smoothing, first.confusable_share)
    again = fit_posterior(small, truth, said, like=first)
    np.testing.assert_allclose(
        again.small_weights + again.large_weights, first.small_weights + first.large_weights, atol=1e-3
    )
    assert (again.counts == first.counts).all()
    assert not (like.counts == first.counts).all()
