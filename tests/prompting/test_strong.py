from __future__ import annotations

import pytest

from dsplus_chains import HintPromptBuilder, InvalidInputError, Prediction
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.prompting.strong import strong_labels

LABELS = ["a", "b", "c"]
PREDICTION = Prediction(label="a", confidence=0.6, probabilities={"a": 0.6, "b": 0.3, "c": 0.1})


def said(label, confidence):
    return Prediction(label=label, confidence=confidence)


def test_strong_is_what_the_small_model_keeps_and_gets_right():
    rows = [said("a", 0.95)] * 9 + [said("a", 0.5)] + [said("b", 0.95)] * 8 + [said("a", 0.95)] * 2
    truth = ["a"] * 10 + ["b"] * 10
    assert strong_labels(rows, truth, threshold=0.9) == ("a",)
    assert strong_labels(rows, truth, threshold=0.9, min_share=0.8) == ("a",)  # never all of them
    assert strong_labels(rows, truth, threshold=None) == ()
    assert strong_labels(rows, truth, threshold={"b": 0.9}, min_share=0.8) == ("b",)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="1 predictions and 0 labels"):
        strong_labels([said("a", 1)], [], threshold=0.5)
    with pytest.raises(InvalidInputError, match="min_share=0"):
        strong_labels([], [], threshold=0.5, min_share=0)


def test_strong_labels_are_not_offered_and_the_way_out_stays():
    builder = HintPromptBuilder(labels=LABELS, instruction="Which?", hints="hard", strong_labels=["a"])
    system, human = builder.invoke({"input": "x", "prediction": PREDICTION}).messages
    assert "The labels are:\n- b\n- c\n- none of these\n" in system.text  # the same for all inputs: it can be cached
    assert human.text == "<input>\nx\n</input>\n\nLabel:"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strong_labels": ["z"]}, "not among"),
        ({"strong_labels": LABELS}, "all labels"),
        ({"strong_labels": ["a"], "set_level": 0.9}, "one of them"),
    ],
)
def test_two_ways_to_prune_and_unknown_labels_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        HintPromptBuilder(labels=LABELS, instruction="Which?", hints="hard", **given)


def test_a_soft_hint_tells_the_track_record():
    record = TrackRecord(confidences=(0.5, 0.9), shares=(0.4, 0.9))
    builder = HintPromptBuilder(labels=LABELS, instruction="Which?", track_record=record, top_k=2)
    assert builder.invoke({"input": "x", "prediction": PREDICTION}).messages[1].text == (
        "<input>\nx\n</input>\n\n"
        "A small model trained for this task read the input and estimates:\n"
        "- a: 60 %\n"
        "- b: 30 %\n"
        "When it is this sure, it is right 52 % of the time. Weigh its estimate, but decide yourself.\n\n"
        "Label:"
    )
