"""The early exit: some texts are answered by the lexical member alone, and are not encoded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fakes import TinyEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplus_chains import SmallModelScorer
from dsplus_chains.calibration.risk import excess_p_value
from dsplus_chains.schema import BundleError
from dsplus_chains.scoring import MultiLabelScorer
from dsplus_chains.scoring.early_exit import EarlyExit, exit_threshold
from dsplus_chains.scoring.ensemble import EnsembleClassifier
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.novelty import novelties, own_novelties

N = 900


class Seeing(TinyEncoder):
    """An encoder that sees what no n-gram shows, and remembers what it read."""

    def __init__(self) -> None:
        super().__init__(name="seeing", dimensions=8)
        self.read: list[str] = []

    def encode(self, texts):
        self.read += texts
        found = super().encode(texts)
        found[:, 0] = [10.0 if is_odd(text) else -10.0 for text in texts]
        return found


def is_odd(text: str) -> bool:
    """Whether the digits of a text have an odd sum."""
    return sum(int(letter) for letter in text if letter.isdigit()) % 2 == 1


def rows(n: int, *, hard: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of two labels. A word tells the label of most of them; of hard ones, only the sum of their digits does."""
    rng = np.random.default_rng(seed)
    texts = []
    for number in range(n):
        code = f"{number + 1000 * seed:05d}"
        word = "hmm" if rng.random() < hard else ("good" if is_odd(code) else "bad")
        texts.append(" ".join([word, *rng.choice(["red", "blue", "old", "new", "big"], size=4), code]))
    return texts, ["odd" if is_odd(text) else "even" for text in texts]


@pytest.fixture(scope="module")
def fitted():
    texts, labels = rows(N, hard=0.3)
    encoder = Seeing()
    return SmallModelScorer.fit(texts, labels, encoder=encoder, model="fast"), encoder


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([300, 1500]), st.floats(0.0, 0.2), st.floats(0.001, 0.02))
def test_no_threshold_is_chosen_that_is_not_certified(seed, n, trouble, most):
    rng = np.random.default_rng(seed)
    sure = rng.random(n).round(2)  # with ties
    early = rng.random(n) > trouble * (1 - sure)
    whole = rng.random(n) > trouble / 2
    found = exit_threshold(sure, early, whole, max_loss=most)
    if found is None:
        return
    exits = sure >= found
    worse, better = (exits & whole & ~early).sum(), (exits & early & ~whole).sum()
    assert excess_p_value(worse, better, n, most) <= 0.05
    assert (worse - better) / n < most


def test_the_bound_is_not_the_mean():
    sure = np.linspace(0, 1, 2000)
    early = np.arange(2000) >= 10  # all ten errors are where it is least sure, half a point in all
    assert exit_threshold(sure, early, np.ones(2000, dtype=bool)) > 0
    assert exit_threshold(sure, np.ones(2000, dtype=bool), np.ones(2000, dtype=bool)) == 0


@pytest.mark.parametrize(("n", "found"), [(0, None), (700, None), (740, 0.0)])
def test_few_rows_certify_nothing(n, found):
    right = np.ones(n, dtype=bool)
    assert exit_threshold(np.linspace(0, 1, n), right, right) == found


@pytest.mark.slow
def test_the_level_holds():
    """Rows are drawn whose true loss at each threshold is known; too much is lost in at most 5 % of the draws."""
    failed = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        sure = rng.random(2000)
        early = rng.random(2000) > 0.03 * (1 - sure)
        found = exit_threshold(sure, early, np.ones(2000, dtype=bool))
        failed += found is not None and 0.03 * (1 - found) ** 2 / 2 > 0.005
    assert failed <= 400 * 0.05 + 2 * np.sqrt(400 * 0.05 * 0.95)


def test_only_the_rest_is_encoded(fitted):
    scorer, encoder = fitted
    texts, labels = rows(300, hard=0.3, seed=1)
    encoder.read.clear()
    found = [row["prediction"] for row in scorer.batch(texts)]
    hard = [text for text in texts if text.startswith("hmm")]
    assert encoder.read == [text for text, row in zip(texts, found, strict=True) if row.stage == "whole"]
    assert set(hard) <= set(encoder.read), "words alone do not tell these"
    assert len(encoder.read) < 150
    assert {row.stage for row in found} == {"early", "whole"}
    assert np.mean([row.label == label for row, label in zip(found, labels, strict=True)]) > 0.97


def test_a_batch_and_its_rows_agree(fitted):
    scorer, _ = fitted
    texts = rows(40, hard=0.3, seed=2)[0]
    for one, row in zip(scorer.batch(texts), map(scorer.invoke, texts), strict=True):
        assert one["prediction"].label == row["prediction"].label
        assert one["prediction"].stage == row["prediction"].stage
        assert one["prediction"].confidence == pytest.approx(row["prediction"].confidence, abs=1e-5)


def test_what_is_out_of_fold_comes_from_both_stages(fitted):
    scorer, _ = fitted
    early = scorer.classifier.early_exit
    assert 0.5 < early.taken < 0.8
    assert early.threshold > 0.5
    assert "the lexical member alone answers" in scorer.summary
    labels = rows(N, hard=0.3)[1]
    right = [row.label == label for row, label in zip(scorer.out_of_fold, labels, strict=True)]
    assert np.mean(right) > 0.97
    assert np.mean([row.confidence for row in scorer.out_of_fold]) == pytest.approx(np.mean(right), abs=0.02)


def test_it_is_saved_and_loaded(fitted, tmp_path):
    scorer, encoder = fitted
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, encoder=encoder)
    texts = rows(60, hard=0.3, seed=3)[0]
    assert [row["prediction"] for row in loaded.batch(texts)] == [row["prediction"] for row in scorer.batch(texts)]
    assert loaded.summary == scorer.summary
    assert loaded.ood_limit() == scorer.ood_limit()


@pytest.mark.parametrize("change", [{"weight": 0}, {"threshold": 1.2}, {"taken": None}])
def test_a_damaged_one_is_refused(fitted, tmp_path, change):
    scorer, encoder = fitted
    scorer.save(tmp_path)
    told = json.loads((tmp_path / "scorer.json").read_text())
    told["classifier"]["early_exit"] |= change
    (tmp_path / "scorer.json").write_text(json.dumps(told))
    with pytest.raises(BundleError):
        SmallModelScorer.load(tmp_path, encoder=encoder)


def test_far_texts_are_far_in_either_stage(fitted):
    scorer, _ = fitted
    limit = scorer.ood_limit(0.95)
    strange = " ".join(["good"] * 40 + [f"zyx{number}" for number in range(40)])
    for row in scorer.batch([strange, strange.replace("good", "bad") + " more"]):
        assert row["prediction"].ood_score > limit
    usual = [row["prediction"].ood_score for row in scorer.batch(rows(200, hard=0.3, seed=4)[0])]
    assert np.mean(np.array(usual) > limit) < 0.3


def test_a_member_that_does_not_pay_is_dropped():
    texts, labels = rows(N, hard=0.0)
    encoder = Seeing()
    scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, model="fast")
    assert [member.kind for member in scorer.classifier.members] == ["lexical"]
    assert scorer.classifier.early_exit.answers_all
    assert "answers 100.0 % of the examples" in scorer.summary
    encoder.read.clear()
    found = scorer.batch(["good red blue 00001", "bad red blue new 00002"])
    assert not encoder.read
    assert [row["prediction"].stage for row in found] == ["early", "early"]
    assert scorer.invoke("good zyx zyy zyz")["prediction"].ood_score > found[0]["prediction"].ood_score


def test_with_few_examples_nothing_exits():
    texts, labels = rows(300, hard=0.3)
    encoder = Seeing()
    scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, model="fast")
    assert "early exit: none" in scorer.summary
    assert scorer.invoke(texts[0])["prediction"].stage == "whole"
    plain = SmallModelScorer.fit(texts, labels, encoder=encoder)
    assert scorer.invoke(texts[0])["prediction"].probabilities == plain.invoke(texts[0])["prediction"].probabilities
    assert plain.invoke(texts[0])["prediction"].stage is None


def test_the_heads_of_tags_encode_a_text_once():
    texts, labels = rows(N, hard=0.3)
    encoder = Seeing()
    tags = [["odd"] * (label == "odd") + ["even"] * (label == "even") for label in labels]
    scorer = MultiLabelScorer.fit(texts, tags, encoder=encoder, model="fast")
    encoder.read.clear()
    scorer.batch(rows(100, hard=0.3, seed=5)[0])
    assert 0 < len(encoder.read) == len(set(encoder.read)) < 100


def test_parts_of_a_batch_share_what_they_encode():
    encoder = Seeing()
    batch = TextBatch(["a b", "c", "d e f", "g"], encoder)
    first, second = batch.part(np.array([2, 0])), batch.part(np.array([0, 3]))
    assert np.array_equal(first.vectors[1], second.vectors[0])
    assert sorted(encoder.read) == ["a b", "d e f", "g"]
    assert np.array_equal(batch.vectors[[2, 0]], first.vectors)


def test_soft_rows_are_foreseen_by_both_stages(fitted):
    from dsplus_chains.scoring.soft_rows import SoftRows

    texts, labels = rows(N, hard=0.3)
    unknown = rows(20, hard=0.3, seed=6)[0]
    targets = np.array([label == "odd" for label in labels], dtype=np.int64)
    soft = SoftRows.unknown(unknown, n_folds=5, n_classes=2)
    found = EnsembleClassifier.fit(texts, targets, 2, encoder=Seeing(), model="fast", soft=soft)
    assert found.foreseen.shape == (6, 20, 2)
    assert np.allclose(np.exp(found.foreseen[-1]), found.predict(unknown).probabilities, atol=1e-6)


def test_a_rank_of_novelty_is_a_rank_of_distance():
    early = EarlyExit(weight=1.0, threshold=0.5, taken=0.5, novelties=np.array([0.0, 0.0, 0.2, 0.4, 0.9]))
    own = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert early.distances(np.array([0.0, 0.1, 0.9, 1.0]), own) == pytest.approx([0.1, 0.3, 0.5, 0.6])


def test_words_of_the_text_itself_are_no_company():
    assert own_novelties(["a b", "b c c", "d"]).tolist() == [0.5, 0.5, 1.0]
    assert novelties(["A b", "e"], {"a", "b"}).tolist() == [0.0, 1.0]
    assert own_novelties([]).shape == (0,)
