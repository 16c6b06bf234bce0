"""A `repr` names things and shapes. It is short however large the object is."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import TinyEncoder

from dsplus_chains.calibration.calibration_maps import IsotonicCalibration, VectorCalibration
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import Prediction, brief
from dsplus_chains.scoring.ensemble import EnsembleClassifier
from dsplus_chains.scoring.members.lexical import LexicalMember
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.task import LabelTask

LABELS = [f"label number {number}" for number in range(500)]
EVEN = np.linspace(0, 1, 2000).tolist()


def neighbours():
    return NeighborMember(
        vectors=np.ones((1000, 64), dtype=np.float32), targets=np.zeros(1000, dtype=np.int64), n_classes=500
    )


def lexical():
    words = tuple(f"word{number}" for number in range(20_000))
    shape = (40_000, 500)
    return LexicalMember(
        vocabularies=(words, words),
        idf=np.ones(40_000),
        weight=np.broadcast_to(np.float32(0), shape),
        bias=np.zeros(500),
    )


def classifier():
    return EnsembleClassifier(
        encoder=TinyEncoder(), members=(neighbours(), lexical()), weights=np.ones(2), reports=(), calibrator=isotonic()
    )


def isotonic():
    return IsotonicCalibration(curves=((tuple(EVEN), tuple(EVEN)),) * 50)


def scorer():
    return SmallModelScorer(labels=LABELS, classifier=classifier())


def examples():
    texts = [f"text {number} " * 50 for number in range(500)]
    return ExemplarSelector.fit(texts, LABELS, encoder=TinyEncoder())


LARGE = {
    "neighbours": (neighbours, "<float32 array of shape (1000, 64)>"),
    "lexical": (lexical, "<float32 array of shape (40000, 500)>"),
    "classifier": (classifier, "EnsembleClassifier(encoder=TinyEncoder(name='tiny'"),
    "scorer": (scorer, "'label number 7', … 500 in all"),
    "chain of scorers": (lambda: scorer() | scorer(), "SmallModelScorer("),
    "isotonic": (isotonic, "IsotonicCalibration(curves="),
    "vector": (lambda: VectorCalibration(weights=(1.0,) * 5000, biases=(0.0,) * 5000), "5,000 in all"),
    "track record": (lambda: TrackRecord(confidences=tuple(EVEN), shares=tuple(EVEN)), "2,000 in all"),
    "examples": (examples, "<float32 array of shape (500, 64)>"),
    "task": (lambda: LabelTask(labels=LABELS, instruction="why " * 9999), "LabelTask(labels=("),
    "prediction": (lambda: Prediction(label="label number 3", probabilities=dict.fromkeys(LABELS, 2e-3)), "500 in all"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_repr_is_short_and_shows_names_and_shapes(name):
    make, told = LARGE[name]
    text = repr(make())
    assert len(text) < 4000
    assert told in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"), ("a", "'a'"), ([], "[]"), ((), "()"), ((1,), "(1,)"), ([1, "a"], "[1, 'a']"),
        ({"b": 1, "a": 2}, "{'b': 1, 'a': 2}"),
        (None, "None"), (0.5, "0.5"), ([[1], [2]], "[[1], [2]]"), (np.float32(0.5), "np.float32(0.5)"),
        ({1}, "{1}"),
    ],
)  # fmt: skip
def test_small_values_read_as_always(value, text):
    assert brief(value) == text == repr(value)


HUGE = ["x" * 500_000] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TrackRecord(confidences=tuple(EVEN), shares=tuple(EVEN[1:])),
        lambda: IsotonicCalibration(curves=((tuple(EVEN), tuple(EVEN[::-1])),)),
        lambda: LabelTask(labels=[*HUGE]),
        lambda: LabelTask(labels=["x" * 500_000, 1]),
        lambda: LabelTask(labels=LABELS, aliases={"a": "x" * 500_000}),
        lambda: LabelTask(labels=LABELS, descriptions={"x" * 500_000: "a"}),
        lambda: LabelTask(labels=LABELS, strong_labels=["x" * 500_000]),
        lambda: LabelTask(labels=LABELS, hints="x" * 500_000),
        lambda: LabelTask(labels=LABELS, template=HUGE[0] + "{"),
        lambda: LabelTask(labels=LABELS, track_record=EVEN * 100),
        lambda: Prediction(label="a", confidence="x" * 500_000),
        lambda: Prediction(label="x" * 500_000, probabilities={"a": 5.0}),
        lambda: SmallModelScorer(labels=HUGE, classifier=classifier()),
        lambda: SmallModelScorer.fit(HUGE, ["a", "b"], encoder=TinyEncoder()),
        lambda: SmallModelScorer.fit(["a", "b"], ["x" * 500_000] * 2, encoder=TinyEncoder()),
        lambda: SmallModelScorer.fit(["a", "b"], ["a", "b"], encoder=EVEN * 100),
        lambda: scorer().invoke({"x" * 500_000: 1}),
        lambda: scorer().invoke(EVEN * 100),
    ],
    ids=range(18),
)  # fmt: skip
def test_an_error_is_short_whatever_came(wrong):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  each has its own message
        wrong()
    assert len(str(caught.value)) < 4000
