from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from dsplus_chains.calibration.calibrators import fit_temperature
from dsplus_chains.scoring.members.lexical import LexicalFeatures, LexicalMember
from dsplus_chains.scoring.members.member import TextBatch, log_softmax
from dsplus_chains.scoring.members.mixing import assign_folds, mix, mixing_weights


def draw(n=400, classes=4, sharp=1.0, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=n)
    scores = generator.normal(size=(n, classes))
    scores[np.arange(n), targets] += 1.5
    return log_softmax(scores * sharp), targets


def test_every_class_is_spread_over_the_folds():
    targets = np.array([0] * 11 + [1] * 2 + [2] * 30)
    folds = assign_folds(targets, 5, seed=3)
    for number in range(3):
        sizes = np.bincount(folds[targets == number], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert (assign_folds(targets, 5, seed=3) == folds).all()


def test_one_member_is_temperature_scaling():
    logs, targets = draw(sharp=5.0)
    (weight,) = mixing_weights([logs], targets)
    assert weight == pytest.approx(1 / fit_temperature(np.exp(logs), targets).temperature, rel=0.01)


def test_a_member_of_noise_gets_little_weight_and_copies_share():
    good, targets = draw()
    noise = log_softmax(np.random.default_rng(1).normal(size=good.shape))
    weights = mixing_weights([good, noise], targets)
    assert weights[1] < 0.15 * weights[0]
    shared = mixing_weights([good, good], targets)
    assert shared[0] == pytest.approx(shared[1], rel=1e-3)


def test_mixing_is_a_weighted_geometric_mean():
    a, b = np.log([[0.2, 0.8]]), np.log([[0.5, 0.5]])
    expected = np.array([0.2**0.3 * 0.5**0.7, 0.8**0.3 * 0.5**0.7])
    assert np.exp(mix([a, b], np.array([0.3, 0.7])))[0] == pytest.approx(expected / expected.sum())


def test_the_lexical_member_is_the_logistic_regression_over_all_columns():
    texts = ["good phone here", "bad phone there", "so good a price", "so bad a price", "odd thing", "very odd"] * 3
    targets = np.array([0, 1, 0, 1, 2, 2] * 3)
    member = LexicalMember.fit(LexicalFeatures.fit(texts), targets, 3, c=10.0)
    ours = np.exp(member.log_proba(TextBatch(["good thing", "bad price"], encoder=None)))
    views = [
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5)),
    ]
    table = np.hstack([view.fit_transform(texts).toarray() for view in views])
    asked = np.hstack([view.transform(["good thing", "bad price"]).toarray() for view in views])
    theirs = LogisticRegression(C=10.0, tol=1e-8, max_iter=5000).fit(table, targets).predict_proba(asked)
    assert np.abs(ours - theirs).max() < 2e-3
