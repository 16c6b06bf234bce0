"""Soft targets: what is learned of a row, and what each fold may know."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from dsplus_chains import TrainingDataError
from dsplus_chains.calibration.posterior import fit_posterior
from dsplus_chains.learning.teaching import frozen_classes, soft_targets, sure_targets
from dsplus_chains.scoring.members.head import fit_head
from dsplus_chains.scoring.members.lessons import Lessons
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.mlp import MlpMember
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.members.steps import Steps, pairs
from dsplus_chains.scoring.soft_rows import SoftRows


def drawn(n, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, n_classes, n)


def test_a_certain_distribution_teaches_what_the_label_does():
    x, y = drawn(40, 3)
    hard, soft = fit_head(x, y, 3, c=1.0), fit_head(x, np.eye(3)[y], 3, c=1.0)
    assert torch.allclose(hard.weight, soft.weight, atol=1e-6)
    near = [NeighborMember.fit(x, targets, 3) for targets in (y, np.eye(3)[y])]
    batch = TextBatch(["?"] * 5, encoder=None)
    batch.vectors = x[:5] + 0.1
    assert np.allclose(near[0].log_proba(batch), near[1].log_proba(batch))
    nets = [MlpMember.fit(x, targets, 3) for targets in (y, np.eye(3)[y])]
    assert np.allclose(nets[0].log_proba(batch), nets[1].log_proba(batch), atol=1e-4)


def test_a_share_teaches_as_rows_in_that_share_do():
    """A row that is three quarters one class is three rows of that class and one of the other."""
    x, y = drawn(20, 2)
    soft = np.where(np.eye(2)[y] == 1, 0.75, 0.25)
    repeated, labels = np.repeat(x, 4, axis=0), np.concatenate([[one, one, one, 1 - one] for one in y])
    one, other = fit_head(x, soft, 2, c=1.0), fit_head(repeated, labels, 2, c=1.0 / 1.0)
    assert torch.allclose(one.weight, other.weight, atol=0.2)
    exact = fit_head(repeated, np.eye(2)[labels], 2, c=1.0)
    assert torch.allclose(exact.weight, other.weight, atol=1e-6)


def test_soft_targets_are_the_posterior_where_the_large_model_spoke_and_the_own_view_elsewhere():
    rng = np.random.default_rng(0)
    views = log_softmax(rng.normal(size=(60, 3)), axis=1)
    truth = rng.integers(0, 3, 60)
    posterior = fit_posterior(views, truth, truth)
    foreseen = np.stack([views[:4], views[4:8]])
    answers = np.array([2, -1, 0, -1])
    targets = soft_targets(foreseen, answers, posterior)
    assert np.allclose(targets.sum(axis=2), 1)
    assert np.allclose(targets[:, [1, 3]], np.exp(foreseen[:, [1, 3]]))
    for fold in range(2):
        expected = np.exp(posterior.log_proba(foreseen[fold, [0, 2]], answers[[0, 2]]))
        assert np.allclose(targets[fold, [0, 2]], expected)


def test_where_the_small_model_sees_a_frozen_class_the_large_answer_does_not_count():
    views = np.log(np.array([[0.8, 0.2], [0.2, 0.8]]))
    posterior = fit_posterior(np.repeat(views, 20, 0), np.repeat([0, 1], 20), np.repeat([0, 1], 20))
    targets = soft_targets(views[None], np.array([1, 0]), posterior, frozen=np.array([False, True]))
    assert targets[0, 0, 1] > 0.5
    assert np.allclose(targets[0, 1], [0.2, 0.8])


def test_a_class_is_frozen_only_where_the_large_model_is_wrong_beyond_chance():
    targets = np.repeat([0, 1, 2, 3], 10)
    answers = targets.copy()
    answers[10:20] = 0  # always wrong
    answers[20:26] = 0  # wrong six times of ten
    answers[30:] = -1  # never asked
    assert frozen_classes(targets, answers, 5).tolist() == [False, True, False, False, False]


@given(st.integers(2, 5), st.integers(5, 30), st.integers(0, 3))
def test_no_fold_sees_what_it_is_judged_by(n_folds, n, n_soft):
    folds = np.arange(n) % n_folds
    soft = np.full((n_folds + 1, n_soft, 2), 0.5)
    lessons = Lessons(
        targets=np.arange(n) % 2, folds=folds, n_folds=n_folds, n_classes=2, soft=soft, learned=np.arange(n_soft)
    )
    seen = []
    for fold in range(n_folds + 1):
        rows, held_out = lessons.rows(fold), lessons.held_out(fold)
        assert not set(rows.tolist()) & set(held_out.tolist())
        assert len(rows) == len(lessons.taught(fold)) == n - len(held_out) + n_soft
        seen += held_out.tolist()
    assert sorted(seen) == list(range(n))
    assert len(lessons.held_out(n_folds)) == 0


def test_each_fold_learns_its_own_targets():
    soft = np.zeros((3, 1, 2))
    soft[:, 0, 0] = [1.0, 0.0, 0.5]
    soft[:, 0, 1] = 1 - soft[:, 0, 0]
    lessons = Lessons(
        targets=np.array([0, 1]), folds=np.array([0, 1]), n_folds=2, n_classes=2, soft=soft, learned=np.array([0])
    )
    assert [lessons.taught(fold)[-1].tolist() for fold in range(3)] == [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    "targets", [np.zeros((6, 1, 2)), np.full((6, 1, 2), 0.6), np.full((6, 2, 2), 0.5), np.full((2, 2), 0.5)]
)
def test_what_is_no_distribution_is_refused(targets):
    with pytest.raises(TrainingDataError, match="expected"):
        SoftRows(texts=["a"], targets=targets)


def test_rows_are_learned_or_foreseen():
    rows = SoftRows.unknown(["a", "b", "c"], n_folds=2, n_classes=2)
    assert rows.foreseen.tolist() == [0, 1, 2]
    taught = rows.taught(np.array([1]), np.full((3, 1, 2), 0.5))
    assert (taught.learned.tolist(), taught.foreseen.tolist()) == ([1], [0, 2])
    assert rows.foreseen.tolist() == [0, 1, 2]


def test_a_target_is_learned_only_if_its_model_is_sure():
    own = np.log([[[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4]], [[0.7, 0.3], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]])
    targets, replayed = sure_targets(
        own, np.array([-1, -1, 1, 1]), eps=0.8, confidences=np.array([np.nan, np.nan, 0.95, 0.8])
    )
    assert replayed.tolist() == [True, True, False, False]
    assert np.isnan(
        targets[:, [0, 3]]
    ).all()  # the fit on all rows is not sure of the first, nor its answer of the last
    assert targets[0, 1].round(2).tolist() == [0.6, 0.4]  # each fold replays what its own model said
    assert targets[:, 2].round(2).tolist() == [[0.05, 0.95]] * 2


def test_steps_teach_the_answered_rows_and_keep_the_others():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    before = MlpMember.fit(vectors[:60], (vectors[:60, 0] > 0).astype(np.int64), 2)
    rows = np.arange(60, 300)
    far, near = rows[np.abs(vectors[rows, 1]) > 1], rows[np.abs(vectors[rows, 1]) <= 1]
    all_rows = SimpleNamespace(vectors=vectors)
    own = np.exp(before.log_proba(all_rows))
    told = np.eye(2)[np.zeros(len(far), dtype=int)]  # the other model says 0 whatever it is
    steps = Steps(taught=far, targets=told, replayed=near, beliefs=own[near])
    state = torch.random.get_rng_state()
    after = before
    for seed in range(20):
        after = after.stepped(vectors, steps, seed=seed)
    assert torch.equal(state, torch.random.get_rng_state())
    new = np.exp(after.log_proba(all_rows))
    assert new[far, 0].mean() > own[far, 0].mean() + 0.1
    assert np.abs(new[near] - own[near]).mean() < np.abs(new[far] - own[far]).mean()
    assert (np.exp(before.log_proba(all_rows)) == own).all()  # the first network is as it was


def test_steps_without_rows_change_nothing():
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    member = MlpMember.fit(vectors, np.arange(40) % 2, 2)
    empty = np.empty(0, dtype=np.int64)
    steps = Steps(taught=empty, targets=np.empty((0, 2)), replayed=np.arange(40), beliefs=np.full((40, 2), 0.5))
    batch = SimpleNamespace(vectors=vectors)
    assert (member.stepped(vectors, steps).log_proba(batch) == member.log_proba(batch)).all()


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 7))
def test_each_taught_row_comes_once_an_epoch(n_taught, n_replayed, size):
    batches = list(pairs(n_taught, n_replayed, size, np.random.default_rng(0)))
    assert sorted(row for taught, _ in batches for row in taught.tolist()) == list(range(n_taught))
    assert all(len(set(replayed.tolist())) == min(size, n_replayed) for _, replayed in batches)
