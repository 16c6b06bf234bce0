from __future__ import annotations

import operator

import numpy as np
import pytest
from fakes import Recording
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from dsplus_chains import (
    AnswerFusion,
    HintPromptBuilder,
    InvalidInputError,
    LabelMask,
    Prediction,
    RunnableScorer,
    data_shunt,
)

ANIMALS = ["cat", "fox", "elk"]
UNSURE = Prediction(label="cat", confidence=0.5, probabilities={"cat": 0.5, "fox": 0.1, "elk": 0.4}, ood_score=0.3)


def test_the_rest_is_scaled_by_hand():
    masked = LabelMask(labels=["cat"]).invoke(UNSURE)
    assert (masked.label, masked.ood_score) == ("elk", 0.3)
    assert masked.confidence == masked.probabilities["elk"] == pytest.approx(0.8)
    assert dict(masked.probabilities) == pytest.approx({"cat": 0.0, "fox": 0.2, "elk": 0.8})


def test_a_record_keeps_everything_else():
    record = {"input": "x", "id": 7, "prediction": UNSURE, "tiers": [UNSURE]}
    masked = LabelMask(labels=["cat", "elk"]).invoke(record)
    assert str(masked["prediction"]) == "fox (100 %)"
    assert {**masked, "prediction": UNSURE} == record


@pytest.mark.parametrize(
    ("prediction", "masked"),
    [
        (Prediction(label="cat", confidence=0.9), Prediction(label=None)),
        (Prediction(label="fox", confidence=0.9), Prediction(label="fox", confidence=0.9)),
        (Prediction(label=None), Prediction(label=None)),
        (Prediction(label="cat", confidence=1.0, probabilities={"cat": 1.0, "fox": 0.0}), Prediction(label=None)),
        (Prediction(label="cat", confidence=1.0, probabilities={"cat": 1.0}), Prediction(label=None)),
    ],
)
def test_where_nothing_is_left_there_is_no_label_and_no_confidence(prediction, masked):
    assert LabelMask(labels=["cat"]).invoke(prediction) == masked


def test_what_does_not_speak_of_the_labels_stays_what_it_is():
    assert LabelMask(labels=["owl"]).invoke(UNSURE) is UNSURE


def test_true_is_not_1():
    boolean = Prediction(label=True, confidence=0.9, probabilities={True: 0.9, False: 0.1})
    alone = Prediction(label=1, confidence=0.9)
    assert LabelMask(labels=[1]).batch([boolean, alone]) == [boolean, Prediction(label=None)]
    masked, kept = LabelMask(labels=[True]).batch([boolean, alone])
    assert (masked.label, kept) == (False, alone)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1),
    st.sets(st.sampled_from("abcdef"), min_size=1),
)
def test_what_is_left_is_a_distribution_in_the_same_proportions(weights, names):
    total = sum(weights.values())
    if not total:
        return
    shares = {label: weight / total for label, weight in weights.items()}
    best = max(shares, key=shares.get)
    prediction = Prediction(label=best, confidence=shares[best], probabilities=shares)
    masked = LabelMask(labels=sorted(names)).invoke(prediction)
    if masked.label is None:
        assert masked.confidence is None
        assert not any(share for label, share in shares.items() if label not in names)
        return
    assert sum(masked.probabilities.values()) == pytest.approx(1)
    assert masked.confidence == max(masked.probabilities.values()) == masked.probabilities[masked.label]
    assert list(masked.probabilities) == list(shares)
    assert not any(masked.probabilities[label] for label in names & set(shares))
    left = sum(share for label, share in shares.items() if label not in names)
    for label in set(shares) - names:
        assert masked.probabilities[label] * left == pytest.approx(shares[label])


def test_two_passes_with_a_mask_are_two_tiers():
    original, distilled = Recording(lambda text: UNSURE), Recording(lambda text: UNSURE)
    large = Recording(lambda prompt: AIMessage("cat"))
    first = RunnableScorer(run=original, labels=ANIMALS)
    chain = data_shunt(
        [first, distilled | LabelMask(labels=["cat"])], large, instruction="Which?", threshold=[0.9, {"elk": 0.75}]
    )
    records = chain.batch(["a", "b"])
    assert [(record["answer"], record["source"]) for record in records] == [("elk", "small-2")] * 2
    assert [record["tiers"] for record in records] == [[UNSURE]] * 2
    assert (original.sizes, distilled.sizes, large.sizes) == ([2], [2], [])
    unsure = data_shunt(
        [first, distilled | LabelMask(labels=["cat"])], large, instruction="Which?", threshold=[0.9, 0.9]
    ).invoke("a")
    assert (unsure["answer"], unsure["source"]) == ("cat", "large"), "the large model may still say what was masked"
    assert "- elk: 80 %\n- fox: 20 %\nIt was" in large.inputs[0].to_string()


def masked_rows(n):
    """Rows of a second tier: now and then it is the masked label after all, and the large model errs elsewhere."""
    rng = np.random.default_rng(0)
    shares = [dict(zip(ANIMALS, (0.1, *0.9 * rng.dirichlet([0.7, 0.7])), strict=True)) for _ in range(n)]
    truth = [ANIMALS[rng.choice(3, p=list(row.values()))] for row in shares]
    said = [label if rng.random() < 0.75 else ANIMALS[rng.integers(1, 3)] for label in truth]
    rows = [Prediction(label=max(row, key=row.get), confidence=max(row.values()), probabilities=row) for row in shares]
    return LabelMask(labels=["cat"]).batch(rows), truth, said


def test_a_fusion_behind_a_mask_leaves_the_masked_label_to_the_large_model():
    rows, truth, said = masked_rows(300)
    fusion = AnswerFusion.fit(rows, truth, said)
    weighed = fusion.weigh(rows, said)
    assert [both is None for both in weighed] == [answer == "cat" for answer in said]
    answers = [answer if both is None else both.label for answer, both in zip(said, weighed, strict=True)]
    right, replaced = (sum(map(operator.eq, given, truth)) for given in (answers, said))
    assert right > replaced
    first, second = RunnableScorer(run=lambda text: UNSURE, labels=ANIMALS), Recording(lambda text: UNSURE)
    large = Recording(lambda prompt: AIMessage("cat" if "purrs" in prompt.to_string() else "fox"))
    tiers = [first, second | LabelMask(labels=["cat"])]
    chain = data_shunt(tiers, large, instruction="Which?", threshold=[None, None], fusion=fusion)
    assert [record["source"] for record in chain.batch(["It purrs.", "It is red."])] == ["large", "fused"]


def test_pruning_by_a_level_counts_on_masked_labels():
    masked = LabelMask(labels=["cat"]).invoke(UNSURE)
    builder = HintPromptBuilder(labels=ANIMALS, instruction="Which?", hints="hard", set_level=0.9)
    assert "- elk\n- none of these" in builder.invoke({"input": "x", "prediction": masked}).to_string()


@pytest.mark.parametrize("value", ["x", None, {"input": "x"}, {"prediction": "cat"}])
def test_what_is_no_prediction_is_refused_and_fails_alone(value):
    mask = LabelMask(labels=["cat"])
    with pytest.raises(InvalidInputError, match="expected a Prediction, or a record with one"):
        mask.invoke(value)
    first, second = mask.batch([value, UNSURE], return_exceptions=True)
    assert isinstance(first, InvalidInputError)
    assert second.label == "elk"


def test_no_labels_are_no_mask():
    with pytest.raises(ValueError, match="at least one"):
        LabelMask(labels=[])
