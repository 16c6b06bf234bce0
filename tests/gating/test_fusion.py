from __future__ import annotations

import numpy as np
import pytest
from fakes import Recording
from pydantic import ValidationError

from dsplus_chains import (
    AnswerFusion,
    ConfidenceBranch,
    InvalidInputError,
    Prediction,
    RunnableScorer,
    Subtask,
    SubtaskDecomposer,
    WiringError,
)
from dsplus_chains.schema import LargeAnswer

LABELS = ("a", "b", "c")


def view(**probabilities):
    label = max(probabilities, key=probabilities.get)
    return Prediction(label=label, confidence=probabilities[label], probabilities=probabilities)


TORN = view(a=0.5, b=0.4, c=0.1)
LEANING = view(a=0.85, b=0.1, c=0.05)


@pytest.fixture(scope="module")
def fusion():
    """Fitted where the large model is right four times in five, and the small one as often as it says."""
    rng = np.random.default_rng(0)
    truth = ["a", "b", "c"] * 100

    def guess(label, share):
        return label if rng.random() < share else str(rng.choice(LABELS))

    said = [guess(label, 0.7) for label in truth]
    small = [guess(label, 0.25) for label in truth]
    views = [view(**{name: 0.5 if name == label else 0.25 for name in LABELS}) for label in small]
    return AnswerFusion.fit(views, truth, said)


def record(prediction, said, source="large"):
    return {"input": "x", "prediction": prediction, "answer": said, "source": source, "large": LargeAnswer(value=said)}


def test_the_last_word_weighs_both(fusion):
    agreed, torn = fusion.batch([record(LEANING, "a"), record(TORN, "b")])
    assert (agreed["answer"], agreed["source"]) == ("a", "fused")
    assert agreed["fused"].confidence > 0.85
    assert (torn["answer"], torn["large"].value) == ("b", "b")
    assert torn["prediction"] == TORN


def test_a_small_model_that_is_nearly_sure_outvotes_a_large_one_that_errs_often(fusion):
    sure = view(a=0.998, b=0.001, c=0.001)
    fused = fusion.invoke(record(sure, "b"))
    assert (fused["answer"], fused["large"].value) == ("a", "b")


@pytest.mark.parametrize(
    "kept",
    [
        {"input": "x", "prediction": TORN, "answer": "a", "source": "small"},
        {**record(TORN, "a", source="fallback"), "error": "TimeoutError: late"},
        record(Prediction(label="a", confidence=0.5), "b"),
        record(TORN, "a", source="medium"),
        {"input": "x", "prediction": TORN, "answer": "free text", "source": "large", "large": LargeAnswer(value="zzz")},
    ],
    ids=["small", "fallback", "no probabilities", "another tier", "no label"],
)
def test_what_there_is_nothing_to_weigh_in_passes_as_it_is(fusion, kept):
    assert fusion.invoke(kept) == kept


def test_it_follows_a_branch_in_one_batch(fusion):
    large = Recording(lambda _: "b")
    chain = ConfidenceBranch(large=large, threshold=0.8) | fusion
    records = chain.batch([{"input": "x", "prediction": TORN}, {"input": "y", "prediction": LEANING}])
    assert [found["source"] for found in records] == ["fused", "small"]
    assert large.sizes == [1]
    assert chain.pick("answer").invoke({"input": "x", "prediction": TORN}) == "b"


def test_answering_anew_forgets_the_old_verdict(fusion):
    fused = fusion.invoke(record(TORN, "b"))
    assert "fused" not in ConfidenceBranch(large=lambda _: "a", threshold=0.0).invoke(fused)


def test_one_strange_input_fails_alone(fusion):
    good, bad = fusion.batch([record(TORN, "b"), {"input": "x"}], return_exceptions=True)
    assert good["source"] == "fused"
    assert isinstance(bad, InvalidInputError)
    assert "scorer | branch | fusion" in str(bad)


def test_probabilities_of_other_labels_are_a_wiring_error(fusion):
    with pytest.raises(WiringError, match="fit anew"):
        fusion.invoke(record(view(a=0.6, other=0.4), "a"))


def test_integer_labels_and_json():
    views = [Prediction(label=1, confidence=0.6, probabilities={1: 0.6, 2: 0.4})] * 10
    fusion = AnswerFusion.fit(views, [1, 2] * 5, [1, 2] * 5)
    again = AnswerFusion.from_dict(fusion.to_dict())
    assert again.fuse(views[:1], [2]) == fusion.fuse(views[:1], [2])
    assert fusion.fuse(views[:1], [2])[0].label == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([TORN], ["a", "b"], ["a"]), "1 predictions, 2 labels"),
        (([Prediction(label="a", confidence=0.5)], ["a"], ["a"]), "no prediction with probabilities"),
        (([TORN], ["a"], [None]), "Got no row"),
    ],
)
def test_rows_that_teach_nothing_are_refused(rows, message):
    with pytest.raises(InvalidInputError, match=message):
        AnswerFusion.fit(*rows)


def test_what_is_masked_stays_so_however_little_the_small_model_is_worth():
    rng = np.random.default_rng(0)
    truth = [str(label) for label in rng.choice(["b", "c"], size=200)]
    views = [view(a=0.0, b=0.5, c=0.5) if row % 2 else view(a=0.0, b=0.9, c=0.1) for row in range(200)]
    fused = AnswerFusion.fit(views, truth, truth, names=LABELS).fuse(views, truth)
    assert {prediction.probabilities["a"] for prediction in fused} == {0.0}
    assert [sum(prediction.probabilities.values()) for prediction in fused] == pytest.approx([1.0] * 200)


def test_bad_parts_are_refused(fusion):
    with pytest.raises(ValidationError, match=r"AnswerFusion\.fit"):
        AnswerFusion(labels=LABELS, posterior="x")
    with pytest.raises(ValidationError, match="2 labels"):
        AnswerFusion(labels=("a", "b"), posterior=fusion.posterior)
    with pytest.raises(ValueError, match="cannot be read"):
        AnswerFusion.from_dict({"labels": ["a"]})
    earlier = fusion.to_dict()
    del earlier["posterior"]["confusable_share"]
    with pytest.raises(ValueError, match="confusable_share"):
        AnswerFusion.from_dict(earlier)


def test_true_is_not_one():
    views = [Prediction(label=True, confidence=0.6, probabilities={False: 0.4, True: 0.6})] * 10
    fusion = AnswerFusion.fit(views, [True, False] * 5, [True, False] * 5)
    assert fusion.weigh(views[:3], [1, 1.0, True])[:2] == [None, None]
    untouched = {"prediction": views[0], "answer": 1, "source": "large", "large": LargeAnswer(value=1)}
    assert fusion.invoke(untouched) == untouched


def test_lengths_that_differ_are_refused(fusion):
    with pytest.raises(InvalidInputError, match="2 predictions, 1 large answers"):
        fusion.fuse([TORN, TORN], ["a"])


def test_a_key_of_the_callers_own_is_not_lost():
    with pytest.raises(InvalidInputError, match="fused"):
        RunnableScorer(run=lambda _: TORN).invoke({"input": "x", "fused": "mine"})


def test_a_subtask_tells_how_sure_both_are(fusion):
    shunt = RunnableScorer(run=lambda _: TORN) | ConfidenceBranch(large=lambda _: "b", threshold=0.8) | fusion
    decomposer = SubtaskDecomposer(subtasks=[Subtask(name="s", run=shunt)], combine=lambda record: "done")
    result = decomposer.invoke("x")["subtasks"]["s"]
    assert (result.value, result.source) == ("b", "fused")
    assert result.confidence == fusion.fuse([TORN], ["b"])[0].confidence


@pytest.mark.parametrize("same", [1.0, 0.95, 0.5])
def test_a_confidence_that_is_always_the_same_teaches_nothing(same):
    rng = np.random.default_rng(1)
    truth = ["ab"[n] for n in rng.integers(2, size=100)]
    said = [label if rng.random() < 0.9 else "a" for label in truth]
    guesses = [label if rng.random() < 0.7 else "b" for label in truth]
    predictions = [
        Prediction(label=guess, confidence=0.7, probabilities={guess: 0.7, "ba"["ab".index(guess)]: 0.3})
        for guess in guesses
    ]
    fusion = AnswerFusion.fit(predictions, truth, said, large_confidences=[same] * 100)
    plain = AnswerFusion.fit(predictions, truth, said)
    unsure = Prediction(label="a", confidence=0.7, probabilities={"a": 0.7, "b": 0.3})
    for confidence in (1.0, 0.9, 0.2):
        (both,), (expected,) = fusion.weigh([unsure], ["b"], [confidence]), plain.weigh([unsure], ["b"])
        assert both.confidence == pytest.approx(expected.confidence, abs=1e-6)
