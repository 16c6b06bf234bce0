from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps, loads

from dsplus_chains import HintPromptBuilder, InvalidInputError, Prediction, TrackRecord, strong_labels


def said(label, confidence):
    return Prediction(label=label, confidence=confidence)


def test_strong_is_what_is_kept_and_right_by_hand():
    rows = [
        *[("a", said("a", 0.95))] * 9,
        ("a", said("a", 0.5)),  # 9 of 10 kept and right
        *[("b", said("b", 0.95))] * 8,
        *[("b", said("a", 0.95))] * 2,  # kept, but wrong: 8 of 10
        *[("c", said("c", 0.5))] * 10,  # right, but never kept
    ]
    labels, predictions = zip(*rows, strict=True)
    assert strong_labels(predictions, labels, threshold=0.9) == ("a",)
    assert strong_labels(predictions, labels, threshold=0.9, min_share=0.8) == ("a", "b")
    assert strong_labels(predictions, labels, threshold=0.9, min_share=0.91) == ()
    assert strong_labels(predictions, labels, threshold={"c": 0.4}) == ("c",)
    assert strong_labels(predictions, labels, threshold=None) == ()


def test_the_weakest_label_is_left_where_all_are_strong():
    labels = ["a"] * 10 + ["b"] * 10
    predictions = [said(label, 0.95) for label in labels]
    assert strong_labels(predictions, labels, threshold=0.9) == ("b",)
    predictions[10] = said("b", None)
    assert strong_labels(predictions, labels, threshold=0.9) == ("a",)
    assert strong_labels([said(0, 1.0)], [0], threshold=0.9) == ()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.floats(0, 1)), max_size=30))
def test_a_higher_threshold_never_makes_a_label_strong_that_was_not(rows):
    labels = [label for label, _, _ in rows]
    predictions = [said(answer, confidence) for _, answer, confidence in rows]
    low, high = (strong_labels(predictions, labels, threshold=threshold) for threshold in (0.3, 0.8))
    assert len(high) <= len(low) + 1, "but for the one label that is left where all are strong"
    assert len(low) < max(1, len(set(labels)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"labels": ["a", "b"]}, "1 predictions and 2 labels"), ({"labels": ["a"], "min_share": 0}, "min_share=0")],
)
def test_bad_values_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        strong_labels([said("a", 0.9)], threshold=0.9, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strong_labels": ["c"]}, r"strong_labels=\['c'\], which are not among"),
        ({"strong_labels": ["b", "a"]}, "all labels"),
        ({"strong_labels": ["a"], "set_level": 0.9}, "both prune"),
        ({"strong_labels": [], "set_level": 0.9}, "both prune"),
    ],
)
def test_a_builder_refuses_to_prune_wrongly(settings, message):
    with pytest.raises(ValueError, match=message):
        HintPromptBuilder(labels=["a", "b"], instruction="?", hints="hard", **settings)


def test_where_no_label_is_strong_all_are_offered():
    builder = HintPromptBuilder(labels=["a", "b"], instruction="?", hints="hard", strong_labels=[], top_k=1)
    prompt = builder.invoke({"input": "x", "prediction": said("a", 0.5)}).to_string()
    assert "- a\n- b\n\n" in prompt
    assert "none of these" not in prompt


@pytest.mark.parametrize(
    "settings",
    [
        {"hints": "hard", "strong_labels": [1]},
        {"track_record": TrackRecord(confidences=(0.1, 1 / 3), shares=(0.2, 0.7))},
    ],
)
def test_the_builder_can_be_dumped_and_loaded(settings):
    builder = HintPromptBuilder(labels=[0, 1], instruction="?", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = loads(dumps(builder), allowed_objects=[HintPromptBuilder], valid_namespaces=["dsplus_chains"])
    assert loaded == builder
    assert loaded.track_record == settings.get("track_record")
