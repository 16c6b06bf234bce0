"""Promotion: only what is better beyond chance, and harms no class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dsplus_chains.learning.judging import judge, spent_level


def logs(rng, targets, right, *, n_classes):
    """Log-probabilities of a model that is right on a share of the rows of each class."""
    share = np.broadcast_to(right, n_classes)[targets]
    said = np.where(rng.random(len(targets)) < share, targets, (targets + 1) % n_classes)
    table = np.full((len(targets), n_classes), 0.2 / (n_classes - 1))
    table[np.arange(len(targets)), said] = 0.8
    return np.log(table)


def test_the_test_is_a_paired_one_sided_t_test():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    before, after = logs(rng, targets, 0.6, n_classes=3), logs(rng, targets, 0.7, n_classes=3)
    rows = np.arange(200)
    expected = ttest_rel(after[rows, targets], before[rows, targets], alternative="greater").pvalue
    found = judge(before, after, targets, level=0.05)
    assert found.p_value == pytest.approx(expected)
    assert found.accuracy_before == (before.argmax(axis=1) == targets).mean()


def test_the_same_model_is_not_better():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 100)
    table = logs(rng, targets, 0.6, n_classes=3)
    found = judge(table, table, targets, level=0.05)
    assert (found.gain, found.p_value, found.harmed) == (0.0, 1.0, ())
    assert len(found.reasons) == 1


def test_a_class_that_falls_stops_a_candidate_that_is_better_on_the_whole():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(5), 60)
    before = logs(rng, targets, 0.7, n_classes=5)
    after = logs(rng, targets, [0.95, 0.95, 0.95, 0.95, 0.2], n_classes=5)
    found = judge(before, after, targets, level=0.03)
    assert found.accuracy_after > found.accuracy_before + 0.05
    assert found.harmed == (4,)
    assert found.reasons == ("it does harm, by the number of classes that fall: 1",)


def test_a_class_that_has_nothing_to_lose_stops_nobody():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 60)
    before = logs(rng, targets, [0.7, 0.7, 0.3], n_classes=3)
    after = logs(rng, targets, [0.95, 0.95, 0.1], n_classes=3)
    assert judge(before, after, targets, level=0.03).harmed == ()


def test_a_class_of_few_rows_falls_only_beyond_chance():
    """Of five rows one is lost and one is less sure, which is no more than the others move."""
    rng = np.random.default_rng(0)
    targets = np.concatenate([rng.integers(0, 4, 400), np.full(5, 4)])
    before, after = logs(rng, targets, 0.75, n_classes=5), logs(rng, targets, 0.9, n_classes=5)
    before[-5:] = after[-5:] = np.log([0.05, 0.05, 0.05, 0.05, 0.8])
    after[-1] = np.log([0.8, 0.05, 0.05, 0.05, 0.05])
    assert judge(before, after, targets, level=0.03).harmed == ()
    after[-4:] = after[-1]
    assert judge(before, after, targets, level=0.03).harmed == (4,)


def test_a_fall_of_accuracy_stops_a_candidate_that_is_surer():
    targets = np.arange(100) % 2
    before, after = np.full((100, 2), np.log(0.5)), np.log(np.where(np.eye(2)[targets] == 1, 0.99, 0.01))
    before[np.arange(100), targets] += 1e-9  # right on all, and sure of nothing
    after[:2] = after[:2, ::-1]
    found = judge(before, after, targets, level=0.03)
    assert found.p_value < 0.03
    assert found.reasons == ("its accuracy falls from 100.0 % to 98.0 %",)


def test_all_looks_together_spend_alpha():
    assert sum(spent_level(0.05, look) for look in range(1, 10_000)) < 0.05
    levels = [spent_level(0.05, look) for look in range(1, 6)]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.slow
def test_no_harmful_candidate_in_two_hundred_rounds_and_most_good_ones():
    """Seven classes of about 100 labelled rows each, as a teacher that is wrong on one class would change them."""
    rng = np.random.default_rng(0)
    harmful, good = 0, 0
    for _ in range(200):
        targets = rng.integers(0, 7, 700)
        shares = rng.uniform(0.55, 0.9, 7)
        before = logs(rng, targets, shares, n_classes=7)

        def changed(share, before=before, targets=targets):
            """A model that agrees with `before` except where its rows change."""
            after = before.copy()
            right = before.argmax(axis=1) == targets
            for number in range(7):
                move = share[number]
                rows = np.flatnonzero((targets == number) & (right if move < 0 else ~right))
                n = min(len(rows), rng.binomial((targets == number).sum(), abs(move)))
                for row in rng.permutation(rows)[:n]:
                    best = (targets[row] + 1) % 7 if move < 0 else targets[row]
                    after[row] = np.log(0.2 / 6)
                    after[row, best] = np.log(0.8)
            return after

        falling = np.full(7, 0.08)
        falling[rng.integers(7)] = -0.25
        harmful += not judge(before, changed(falling), targets, level=spent_level(0.05, 1)).reasons
        good += not judge(before, changed(np.full(7, 0.03)), targets, level=spent_level(0.05, 1)).reasons
    assert harmful == 0
    assert good >= 160
