from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from conftest import LABELS, TEXTS
from fakes import TinyEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dsplus_chains import (
    BundleError,
    ConfidenceBranch,
    InvalidInputError,
    Prediction,
    SmallModelScorer,
    TrainingDataError,
    data_shunt,
)
from dsplus_chains.encoding import neighbor_index
from dsplus_chains.scoring.members.head import fit_head, logits
from dsplus_chains.scoring.members.member import log_softmax


def fit(labels=LABELS, texts=TEXTS, **more):
    return SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), **more)


def test_it_learns_and_keeps_what_the_dict_held(scorer, encoder):
    record, other = scorer.batch([{"input": "good and nice", "id": 7}, "bad and ugly"])
    assert (record["id"], record["prediction"].label) == (7, "positive")
    assert (other["input"], other["prediction"].label) == ("bad and ugly", "negative")
    assert encoder.calls == [2]


@pytest.mark.parametrize(
    "names",
    [["positive", "negative"], ["negative", "positive"], [1, 0], [0, 1], [True, False], [False, True], [-3, 7]],
)
def test_the_label_is_the_most_probable_one_for_any_order_and_type(names):
    labels = [names[0]] * 3 + [names[1]] * 3
    for order in (range(6), range(5, -1, -1)):
        scorer = fit([labels[i] for i in order], [TEXTS[i] for i in order])
        assert set(scorer.labels) == set(names)
        for text, label in zip(TEXTS, labels, strict=True):
            prediction = scorer.invoke(text)["prediction"]
            assert prediction.label == label
            assert type(prediction.label) is type(label)
            assert max(prediction.probabilities, key=prediction.probabilities.get) == label
            assert prediction.confidence == prediction.probabilities[label]
            assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_numpy_columns_are_accepted():
    scorer = fit(np.array([1, 1, 1, 0, 0, 0]), np.array(TEXTS))
    assert scorer.labels == (1, 0)
    assert type(scorer.invoke("good")["prediction"].label) is int


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x"], "Got 2 texts and 1 labels"),
        ([], [], "expected at least"),
        (["a", "b"], ["x", "x"], "one label only, 'x'"),
        (["a", "b", "c"], ["x", "x", "y"], r"only one example each of \['y'\]"),
        (["a", "b", " ", "d"], ["x", "y", "x", "y"], r"texts\[2\]=' '"),
        (["a", "b", None, "d"], ["x", "y", "x", "y"], r"texts\[2\]=None"),
        (["a", "b", "c", "d"], ["x", "y", None, "y"], r"labels\[2\]=None"),
        (["a", "b", "c", "d"], ["x", "y", float("nan"), "y"], r"labels\[2\]=nan"),
        (["a", "b", "c", "d"], [True, 1, True, 1], "bool, int"),
        (["a", "b", "c", "d"], ["1", 1, "1", 1], "int, str"),
        ("text", ["x"], "one string"),
    ],
)
def test_examples_that_cannot_train_are_refused(texts, labels, message):
    with pytest.raises(TrainingDataError, match=message) as caught:
        fit(labels, texts)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"Got None \(NoneType\) but expected a text"),
        (3, r"Got 3 \(int\)"),
        ("", "not white space"),
        (" \n\t ", "not white space"),
        (["a"], "list"),
        ({"text": "a"}, r"keys \['text'\] but expected the text under 'input'"),
        ({"input": None}, "'input': None"),
    ],
)
def test_bad_input_gets_a_clear_error_and_fails_alone(scorer, encoder, value, message):
    with pytest.raises(InvalidInputError, match=message):
        scorer.invoke(value)
    good, bad = scorer.batch(["good", value], return_exceptions=True)
    assert good["prediction"].label == "positive"
    assert isinstance(bad, InvalidInputError)
    assert encoder.calls == [1]


@given(st.text(min_size=1).filter(str.strip))
@settings(max_examples=50, deadline=None)
def test_any_text_gets_a_sound_answer(text):
    prediction = SCORER.invoke(text)["prediction"]
    assert 0.5 <= prediction.confidence <= 1


@pytest.mark.parametrize("key", ["answer", "source", "error", "large", "prediction"])
def test_the_callers_own_columns_are_not_overwritten(scorer, key):
    with pytest.raises(InvalidInputError, match=rf"keys \['{key}'\].*Rename"):
        scorer.invoke({"input": "good", key: "mine"})


def test_half_a_character_fails_alone(scorer):
    good, bad = scorer.batch(["good", "\ud83d half an emoji"], return_exceptions=True)
    assert good["prediction"].label == "positive"
    assert isinstance(bad, InvalidInputError)


def test_an_encoder_that_yields_no_numbers_leads_to_no_confidence(scorer, encoder, monkeypatch):
    monkeypatch.setattr(TinyEncoder, "encode", lambda self, texts: np.full((len(texts), 64), np.nan, dtype=np.float32))
    assert scorer.invoke("good")["prediction"] == Prediction(label=None)


def test_langchain_embeddings_will_do():
    from langchain_core.embeddings import DeterministicFakeEmbedding

    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=DeterministicFakeEmbedding(size=16))
    assert [record["prediction"].label for record in scorer.batch(TEXTS)] == LABELS


@pytest.mark.parametrize("model", ["auto", "linear"])
def test_with_enough_examples_members_are_mixed_calibrated_and_kept(tmp_path, model):
    texts = [f"{word} thing number {i}" for i in range(20) for word in ("good", "bad", "odd")]
    labels = ["positive", "negative", "neutral"] * 20
    scorer = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model=model, seed=1)
    names = [line.split(":")[0] for line in scorer.summary.splitlines()]
    assert names == {"auto": ["linear", "mlp", "lexical", "neighbors"], "linear": ["linear"]}[model]
    assert all("out of fold" in line for line in scorer.summary.splitlines())
    records = scorer.batch(["a good day", "a bad day", "an odd day"])
    assert [record["prediction"].label for record in records] == ["positive", "negative", "neutral"]
    assert scorer.classifier.encoder.calls[-1] == 3, "one encode, however many members"
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert loaded.summary == scorer.summary
    for a, b in zip(records, loaded.batch(["a good day", "a bad day", "an odd day"]), strict=True):
        assert a["prediction"].confidence == pytest.approx(b["prediction"].confidence, abs=1e-6)
    again = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model=model, seed=1)
    assert again.batch(["a good day"]) == scorer.batch(["a good day"])


def test_a_key_of_ones_own():
    scorer = fit(input_key="review")
    assert scorer.invoke({"review": "good"})["input"] == "good"
    assert scorer.invoke({"review": "good", "input": "good"})["input"] == "good"
    with pytest.raises(InvalidInputError, match="another under 'input'"):
        scorer.invoke({"review": "good", "input": "bad"})


def test_a_second_scorer_moves_the_first_prediction_to_the_tiers(scorer):
    first, second, third = scorer.invoke("good"), None, None
    second = scorer.invoke({**first, "prediction": Prediction(label="negative", confidence=0.6)})
    third = scorer.invoke(second)
    assert [p.label for p in third["tiers"]] == ["negative", "positive"]
    assert third["prediction"].label == "positive"
    assert "tiers" not in first


def test_same_seed_same_numbers():
    assert fit().invoke("so good")["prediction"] == fit().invoke("so good")["prediction"]


def test_the_head_is_the_logistic_regression_that_scikit_learn_finds():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 5))
    y = (x @ generator.normal(size=(5, 3))).argmax(axis=1)
    ours = np.exp(log_softmax(logits(fit_head(x, y, 3, c=2.0), x)))
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(x, y).predict_proba(x)
    assert np.abs(ours - theirs).max() < 1e-4


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["a", "b"], [1, 0], [True, False]])
def test_saved_and_loaded_it_predicts_the_same(tmp_path, names):
    scorer = fit([names[0]] * 3 + [names[1]] * 3, input_key="review")
    scorer.save(tmp_path / "scorer")
    loaded = SmallModelScorer.load(tmp_path / "scorer", encoder=TinyEncoder())
    assert loaded.labels == scorer.labels
    assert [type(label) for label in loaded.labels] == [type(label) for label in scorer.labels]
    inputs = [{"review": text} for text in TEXTS]
    assert loaded.batch(inputs) == scorer.batch(inputs)


def test_nothing_on_disk_is_a_pickle(tmp_path, scorer):
    scorer.save(tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["scorer.json", "scorer.safetensors"]
    for name in files:
        with pytest.raises(Exception):  # noqa: B017, PT011  whatever a pickle reader says of it
            pickle.loads((tmp_path / name).read_bytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "scorer.json").unlink(), "holds no readable scorer"),
        (lambda folder: (folder / "scorer.json").write_text("{"), "holds no readable scorer"),
        (lambda folder: (folder / "scorer.json").write_text("[]"), "format None"),
        (lambda folder: (folder / "scorer.safetensors").write_bytes(b"x"), "damaged"),
        (lambda folder: (folder / "scorer.safetensors").unlink(), "holds no readable scorer"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, scorer, spoil, message):
    scorer.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(BundleError, match=message):
        SmallModelScorer.load(tmp_path, encoder=TinyEncoder())


def test_another_format_and_another_encoder_are_refused(tmp_path, scorer):
    scorer.save(tmp_path)
    with pytest.raises(BundleError, match="encodes otherwise"):
        SmallModelScorer.load(tmp_path, encoder=TinyEncoder(dimensions=32))
    settings_ = json.loads((tmp_path / "scorer.json").read_text())
    (tmp_path / "scorer.json").write_text(json.dumps({**settings_, "format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        SmallModelScorer.load(tmp_path, encoder=TinyEncoder())


def test_what_is_no_encoder_is_refused():
    with pytest.raises(ValueError, match="expected a name, a path, a LangChain Embeddings, or an Encoder"):
        SmallModelScorer.fit(TEXTS, LABELS, encoder=7)


SCORER = fit()


def test_what_is_unlike_all_training_examples_can_be_deferred(tmp_path, monkeypatch):
    texts = [f"{word} thing number {i}" for i in range(20) for word in ("good", "bad", "odd")]
    scorer = SmallModelScorer.fit(texts, ["positive", "negative", "neutral"] * 20, encoder=TinyEncoder())
    near, far = scorer.batch(["good thing number 3", "quite another matter altogether"])
    assert near["prediction"].ood_score < scorer.ood_limit(0.9) <= scorer.ood_limit(1.0)
    assert far["prediction"].ood_score > scorer.ood_limit(1.0)
    branch = ConfidenceBranch(large=lambda _: "large", threshold=0.0, max_ood_score=scorer.ood_limit(1.0))
    assert [record["source"] for record in branch.batch([near, far])] == ["small", "large"]
    scorer.save(tmp_path)
    loaded = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert loaded.ood_limit() == pytest.approx(scorer.ood_limit())
    assert loaded.invoke("a thing")["prediction"].ood_score == pytest.approx(
        scorer.invoke("a thing")["prediction"].ood_score, abs=1e-6
    )
    monkeypatch.setattr(neighbor_index, "MOST_EXACT", 20)  # as if there were many examples
    many, again = (SmallModelScorer.load(tmp_path, encoder=TinyEncoder()) for _ in range(2))
    asked = [*texts[::7], "quite another matter altogether"]
    assert many.batch(asked) == again.batch(asked)
    assert many.model_hash == scorer.model_hash, "it was saved without cells, and is the same model"
    fitted = SmallModelScorer.fit(texts, ["positive", "negative", "neutral"] * 20, encoder=TinyEncoder())
    fitted.save(tmp_path / "many")
    monkeypatch.setattr(neighbor_index, "_found_cells", None)  # they are stored
    assert SmallModelScorer.load(tmp_path / "many", encoder=TinyEncoder()).batch(asked) == fitted.batch(asked)
    assert [many.invoke(text)["prediction"].ood_score for text in asked] == pytest.approx(
        [scorer.invoke(text)["prediction"].ood_score for text in asked], abs=0.02
    )


def test_the_distance_is_one_less_the_mean_similarity_of_the_nearest_by_hand():
    from dsplus_chains.scoring.members.member import TextBatch
    from dsplus_chains.scoring.members.neighbors import NeighborMember

    angles = np.radians([0, 10, 20, 30, 40, 50, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    member = NeighborMember.fit(vectors, np.zeros(7, dtype=np.int64), 1)
    batch = TextBatch(["x"], encoder=None)
    batch.vectors = vectors[:1]
    assert member.distances(batch) == pytest.approx([1 - np.cos(angles[:5]).mean()], abs=1e-6)
    assert member.own_distances()[0] == pytest.approx(1 - np.cos(angles[1:6]).mean(), abs=1e-6)
    alike = NeighborMember.fit(np.ones((9, 2), dtype=np.float32), np.zeros(9, dtype=np.int64), 1)
    assert alike.own_distances() == pytest.approx([0.0])


def test_an_encoder_that_gives_no_number_is_refused_before_the_fit():
    class Broken(TinyEncoder):
        def encode(self, texts):
            vectors = super().encode(texts)
            vectors[1, 0] = np.nan
            return vectors

    with pytest.raises(InvalidInputError, match="Got 1 of 6 vectors with a number that is not finite"):
        SmallModelScorer.fit(TEXTS, LABELS, encoder=Broken())


def test_examples_that_are_repeated_do_not_narrow_what_is_familiar():
    texts = [f"{word} thing number {i}" for i in range(20) for word in ("good", "bad", "odd")]
    labels = ["positive", "negative", "neutral"] * 20
    once, often = (
        SmallModelScorer.fit(texts * n, labels * n, encoder=TinyEncoder(), model="auto").ood_limit() for n in (1, 4)
    )
    assert often == pytest.approx(once, abs=1e-3)


def test_a_distance_that_nobody_measures_is_refused_where_it_is_wired():
    with pytest.raises(ValueError, match="looks for no neighbours"):
        data_shunt(fit(), lambda _: "large", instruction="?", threshold=0.5, max_ood_score=0.3)


def test_a_scorer_without_neighbours_says_so():
    scorer = fit()
    assert scorer.invoke("good")["prediction"].ood_score is None
    with pytest.raises(ValueError, match="looks for no neighbours"):
        scorer.ood_limit()


def test_an_unknown_distance_is_never_kept_where_one_is_asked_for():
    branch = ConfidenceBranch(large=lambda _: "large", threshold=0.5, max_ood_score=0.3)
    record = {"input": "x", "prediction": Prediction(label="a", confidence=1.0)}
    assert branch.invoke(record)["source"] == "large"
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        ConfidenceBranch(large=lambda _: "large", threshold=0.5, max_ood_score=-1)
    with pytest.raises(ValueError, match="ood_score"):
        Prediction(label="a", ood_score=-0.1)


@pytest.mark.parametrize("calibration", ["vector", "isotonic"])
def test_other_calibrations_are_fitted_out_of_fold_and_kept(tmp_path, calibration):
    rng = np.random.default_rng(0)
    words = np.where(rng.random(600) < 0.8, rng.choice(["good", "bad"], 600), "odd")
    labels = ["positive" if (word == "good") != (rng.random() < 0.2) else "negative" for word in words]
    texts = [f"{word} thing number {i % 7} {i // 7 % 10} {i // 70}" for i, word in enumerate(words)]
    scorer = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model="linear", calibration=calibration)
    plain = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model="linear")
    bent, straight = (found.invoke("good thing")["prediction"] for found in (scorer, plain))
    assert bent.confidence != pytest.approx(straight.confidence, abs=1e-4)
    mean = np.mean([record["prediction"].confidence for record in scorer.batch(texts)])
    assert mean == pytest.approx(0.8, abs=0.05), "four labels in five are as the words say"
    scorer.save(tmp_path)
    again = SmallModelScorer.load(tmp_path, encoder=TinyEncoder())
    assert again.invoke("good thing")["prediction"].confidence == pytest.approx(bent.confidence, abs=1e-6)


def test_a_calibration_with_many_parameters_wants_examples():
    with pytest.raises(TrainingDataError, match="takes at least 500"):
        fit(calibration="isotonic")


def test_the_track_record_is_what_was_right_out_of_fold_and_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    words = rng.choice(["good", "bad"], 600)
    labels = ["positive" if (word == "good") != (rng.random() < 0.2) else "negative" for word in words]
    texts = [f"{word} thing number {i % 7} {i // 7 % 10} {i // 70}" for i, word in enumerate(words)]
    scorer = SmallModelScorer.fit(texts, labels, encoder=TinyEncoder(), model="linear")
    right = np.mean([view.label == label for view, label in zip(scorer.out_of_fold, labels, strict=True)])
    told = [scorer.track_record.at(view.confidence) for view in scorer.out_of_fold]
    assert np.mean(told) == pytest.approx(right, abs=0.02)
    assert right == pytest.approx(0.8, abs=0.05)
    scorer.save(tmp_path)
    assert SmallModelScorer.load(tmp_path, encoder=TinyEncoder()).track_record == scorer.track_record
    settings_ = json.loads((tmp_path / "scorer.json").read_text())
    del settings_["track_record"]  # as an earlier version wrote it
    (tmp_path / "scorer.json").write_text(json.dumps(settings_))
    assert SmallModelScorer.load(tmp_path, encoder=TinyEncoder()).track_record is None
    assert fit().track_record is None, "six examples are no record"


@pytest.mark.local
def test_predictions_do_not_depend_on_the_size_of_the_batch():
    texts = [f"{word} thing number {i}" for i in range(20) for word in ("good", "bad", "odd")]
    scorer = SmallModelScorer.fit(texts, ["positive", "negative", "neutral"] * 20)
    asked = ["good", "a bad thing, and a long story about how it came to be so", "odd", "well " * 60, "nothing at all"]
    for together, alone in zip(scorer.batch(asked), map(scorer.invoke, asked), strict=True):
        assert together["prediction"].label == alone["prediction"].label
        for label, probability in together["prediction"].probabilities.items():
            assert probability == pytest.approx(alone["prediction"].probabilities[label], abs=1e-5)


def test_an_encoder_of_two_vectors_gets_a_linear_head_on_each(tmp_path):
    class TwoViews(TinyEncoder):
        views = (24, 40)

    texts, labels = [f"{text} {n}" for n in range(10) for text in TEXTS], list(LABELS) * 10
    scorer = SmallModelScorer.fit(texts, labels, encoder=TwoViews())
    assert [report.name for report in scorer.classifier.reports] == ["linear", "linear", "mlp", "lexical", "neighbors"]
    first, second = scorer.classifier.members[:2]
    assert (first.start, first.head.in_features, second.start, second.head.in_features) == (0, 24, 24, 40)
    scorer.save(tmp_path)
    again = SmallModelScorer.load(tmp_path, encoder=TwoViews())
    assert again.batch(texts[:5]) == scorer.batch(texts[:5])
