"""The regression finds the optimum that scikit-learn finds, from anywhere."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dsplus_chains.scoring.members.head import fit_head, logits
from dsplus_chains.scoring.members.member import log_softmax


def probabilities(head, x):
    return np.exp(log_softmax(logits(head, x)))


def drawn(n, width, n_classes, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    scores = x[:, : min(width, 3)] @ rng.normal(size=(min(width, 3), n_classes))
    return x, (scores + noise * rng.normal(size=scores.shape)).argmax(axis=1)


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    ("n", "width", "n_classes", "noise"),
    [(300, 8, 4, 0), (40, 200, 3, 0), (9000, 3, 5, 0), (9000, 3, 5, 1), (30, 1, 3, 1)],
)
def test_it_is_the_optimum_of_scikit_learn(n, width, n_classes, noise, c):
    x, y = drawn(n, width, n_classes, noise=noise)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(x, y)
    ours = probabilities(fit_head(x, y, n_classes, c=c), x)
    assert np.abs(ours - theirs.predict_proba(x)).max() < 1e-3


@pytest.mark.parametrize(("n", "width"), [(200, 20), (20, 200)])
def test_where_the_search_begins_makes_no_difference(n, width):
    x, y = drawn(n, width, 4)
    other = fit_head(*drawn(n, width, 4, seed=1), 4, c=1.0)
    cold, warm = (fit_head(x, y, 4, c=1.0, start=start) for start in (None, other))
    assert np.abs(probabilities(cold, x) - probabilities(warm, x)).max() < 1e-3


def test_shares_teach_as_rows_in_that_share_do():
    x, y = drawn(50, 4, 3)
    shares = np.eye(3)[y] * 0.5 + np.eye(3)[(y + 1) % 3] * 0.5
    twice, labels = np.repeat(x, 2, axis=0), np.column_stack([y, (y + 1) % 3]).ravel()
    ours, theirs = fit_head(x, shares, 3, c=2.0), fit_head(twice, labels, 3, c=1.0)
    assert np.abs(probabilities(ours, x) - probabilities(theirs, x)).max() < 1e-3


@pytest.mark.parametrize("x", [np.zeros((6, 3)), np.ones((6, 3)), np.ones((6, 1)), np.zeros((6, 20))])
def test_features_that_say_nothing_leave_the_shares_of_the_labels(x):
    found = probabilities(fit_head(x, np.array([0, 0, 0, 0, 1, 1]), 2, c=1.0), x)
    assert np.allclose(found, [2 / 3, 1 / 3], atol=1e-3)


def test_one_class_is_certain():
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(probabilities(fit_head(x, np.zeros(5, dtype=np.int64), 1, c=1.0), x), 1)
