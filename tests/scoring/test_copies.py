"""Copies of a row are held out together, and count once."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from fakes import TinyEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplus_chains import LabelMask, Prediction, SmallModelScorer, TrainingDataError, TrainingDataWarning
from dsplus_chains.schema import OverlapWarning, first_copies, text_key
from dsplus_chains.scoring import SeenTexts
from dsplus_chains.scoring.members.mixing import assign_folds, judged_rows

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=2, max_size=80)
FORMS = (str.upper, str.title, "{}!".format, " {} ".format, "“{}”".format, lambda text: text.replace(" ", " , "))


def noise(n=80, seed=0):
    """Texts that tell nothing of their labels."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{number}" for number in range(60)])
    texts = [" ".join(rng.choice(words, 6, replace=False)) for _ in range(n)]
    return texts, ["yes" if row % 2 else "no" for row in range(n)]


def oversampled(texts, labels, times=6):
    """Every row several times, each time written otherwise."""
    return [form(text) for form in FORMS[:times] for text in texts], labels * times


@given(ROWS, st.integers(2, 6), st.integers(0, 9))
def test_copies_share_a_fold_and_no_class_of_two_texts_is_wholly_in_one(rows, n_folds, seed):
    targets, copy_of = np.array([label for _, label in rows]), np.array(first_copies(text for text, _ in rows))
    folds = assign_folds(targets, n_folds, seed=seed, copy_of=copy_of)
    assert (folds == folds[copy_of]).all()
    assert set(folds.tolist()) <= set(range(n_folds))
    for label in set(targets.tolist()):
        if len(set(copy_of[targets == label].tolist())) > 1:
            assert len(set(folds[targets == label].tolist())) > 1
    judged = judged_rows(targets, copy_of)
    assert len(set(copy_of[judged].tolist())) == len(judged)
    for row in judged:  # members that judge it were trained on its class
        assert (targets[folds != folds[row]] == targets[row]).any()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(2, 5), st.integers(1, 4))
def test_without_copies_every_class_is_spread_evenly_and_copies_move_nothing(labels, n_folds, times):
    targets = np.array(labels)
    folds = assign_folds(targets, n_folds, seed=1)
    for label in set(labels):
        sizes = np.bincount(folds[targets == label], minlength=n_folds)
        assert sizes.max() - sizes.min() <= 1
    n = len(labels)
    again = assign_folds(np.tile(targets, times), n_folds, seed=1, copy_of=np.tile(np.arange(n), times))
    assert again.tolist() == np.tile(folds, times).tolist()


@pytest.mark.parametrize("model", ["auto", "linear"])
def test_oversampled_noise_is_known_to_be_noise(model):
    texts, labels = noise()
    many, given_labels = oversampled(texts, labels)
    once, often = (
        SmallModelScorer.fit(*rows, encoder=TinyEncoder(), model=model)
        for rows in ((texts, labels), (many, given_labels))
    )
    for scorer, names in ((once, labels), (often, given_labels)):
        right = np.mean([view.label == label for view, label in zip(scorer.out_of_fold, names, strict=True)])
        assert right < 0.65
        assert max(report.accuracy for report in scorer.classifier.reports) < 0.7
        fresh = [record["prediction"].confidence for record in scorer.batch(noise(200, seed=1)[0])]
        assert np.mean(fresh) < 0.75
    assert "copies" not in once.summary
    assert often.summary.splitlines()[-1].startswith("copies: 400 of 480 rows repeat the text of another")
    assert once.track_record is None, "80 texts are no record"
    assert often.track_record is None, "nor are copies of them"


def test_copies_are_no_reason_to_compare_members_or_to_bend_a_calibration():
    texts, labels = noise(40)
    many = oversampled(texts, labels)
    scorer = SmallModelScorer.fit(*many, encoder=TinyEncoder())
    assert [report.accuracy for report in scorer.classifier.reports] == [None]
    assert scorer.out_of_fold is None
    with pytest.raises(TrainingDataError, match="Got 80 different examples"):
        SmallModelScorer.fit(*oversampled(*noise(80), times=6), encoder=TinyEncoder(), calibration="isotonic")


def test_a_label_of_one_text_is_fitted_but_judged_by_nothing():
    texts, labels = noise(60)
    scorer = SmallModelScorer.fit([*texts, "Rare one", "rare one!"], [*labels, "rare", "rare"], encoder=TinyEncoder())
    assert scorer.labels == ("no", "yes", "rare")
    assert scorer.invoke("a rare one")["prediction"].probabilities["rare"] > 0
    assert scorer.classifier.judged.tolist() == list(range(60))
    assert [view.training for view in scorer.out_of_fold[60:]] == ["copy", "copy"]
    # Members that have seen no example of a class would call it all but impossible.
    assert all(report.log_loss < np.log(3) for report in scorer.classifier.reports)


def test_texts_with_several_labels_are_told_and_kept():
    texts, labels = noise(60)
    rows = [*texts, texts[0].upper(), f"{texts[1]}!"], [*labels, "yes", "no"]
    with pytest.warns(TrainingDataWarning, match=r"Got 2 of 60 texts with several labels, such as .*\('no', 'yes'\)"):
        scorer = SmallModelScorer.fit(*rows, encoder=TinyEncoder())
    assert scorer.summary.splitlines()[-1].endswith("; 2 texts have several labels")
    assert len(scorer.out_of_fold) == 62
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SmallModelScorer.fit([*texts, texts[0].upper()], [*labels, labels[0]], encoder=TinyEncoder())


def test_true_is_another_label_than_one_only_where_both_can_be():
    with pytest.warns(TrainingDataWarning, match=r"\(True, False\)"):
        SmallModelScorer.fit(["a b", "A, B", "c", "d"], [True, False, True, False], encoder=TinyEncoder())


def test_predictions_tell_what_was_seen_in_training_and_survive_the_way(tmp_path):
    texts, labels = noise(60)
    scorer = SmallModelScorer.fit([*texts, texts[3]], [*labels, labels[3]], encoder=TinyEncoder())
    asked = [texts[0], texts[1].title() + "?", "quite another text"]
    assert [record["prediction"].training for record in scorer.batch(asked)] == ["seen", "seen", None]
    assert [view.training for view in scorer.out_of_fold] == ["out_of_fold"] * 60 + ["copy"]
    masked = LabelMask(labels=["no"]).batch(scorer.batch(asked))
    assert [record["prediction"].training for record in masked] == ["seen", "seen", None]
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert loaded.training_rows == scorer.training_rows
    assert loaded.summary == scorer.summary
    assert [record["prediction"].training for record in loaded.batch(asked)] == ["seen", "seen", None]


def test_a_scorer_of_an_earlier_version_marks_nothing(tmp_path, scorer):
    scorer.save(tmp_path)
    settings_ = json.loads((tmp_path / "scorer.json").read_text())
    del settings_["training_rows"]
    (tmp_path / "scorer.json").write_text(json.dumps(settings_))
    loaded = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert loaded.training_rows is None
    assert loaded.invoke("good phone")["prediction"].training is None


def test_a_mark_is_one_of_three():
    with pytest.raises(ValueError, match="training"):
        Prediction(label="a", training="maybe")
    assert not issubclass(OverlapWarning, TrainingDataWarning)


@given(st.lists(st.text()), st.lists(st.text()))
@settings(max_examples=50)
def test_a_set_of_texts_knows_its_own_and_comes_back_as_text(inside, others):
    seen = SeenTexts.of(inside)
    keys = set(map(text_key, inside))
    assert len(seen) == len(keys)
    assert seen.has([*inside, *others]) == [text_key(text) in keys for text in [*inside, *others]]
    assert SeenTexts.from_text(seen.to_text()) == seen == SeenTexts.of(reversed(inside))
    assert seen.hashes.tolist() == sorted(seen.hashes.tolist())


@pytest.mark.parametrize("text", ["AAAA", "no base64!"])
def test_what_is_no_set_of_texts_is_refused(text):
    with pytest.raises(ValueError, match=r"bytes|base64|Only"):
        SeenTexts.from_text(text)


def test_a_warning_points_at_the_call_of_fit(encoder):
    with pytest.warns(TrainingDataWarning) as heard:
        SmallModelScorer.fit(["a", "a", "b", "c"], ["x", "y", "x", "y"], encoder=encoder)
    assert heard[0].filename == __file__


def test_texts_are_found_in_hashes_of_any_order():
    seen = SeenTexts.of(["one", "two", "three"])
    falling = SeenTexts(packed=seen.hashes[::-1].astype("<u8").tobytes())
    assert falling.has(["two", "four", "ONE"]) == [True, False, True]
    assert SeenTexts.of([]).has(["one"]) == [False]
