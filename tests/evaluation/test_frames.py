"""Data frames in and out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fakes import TinyEncoder, predict

from dsplus_chains import AnswerFusion, Bundle, SmallModelScorer, evaluate, tune_threshold
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.running import in_batches
from dsplus_chains.schema import LargeAnswer
from dsplus_chains.scoring.multi_label import MultiLabelScorer

pandas = pytest.importorskip("pandas")

TEXTS = ["good phone?", "good price", "nice and good", "bad phone?", "bad price", "bad and ugly"] * 4
LABELS = (["positive"] * 3 + ["negative"] * 3) * 4
LARGE = (["negative"] + ["positive"] * 2 + ["negative"] * 3) * 4
PREDICTIONS = [predict(text) for text in TEXTS]


def series(values):
    """A column of a data frame whose rows were shuffled, so that its index starts anywhere."""
    return pandas.Series(list(values), index=range(100, 100 + len(values)), dtype=object)


def records():
    made = []
    for text, view, large in zip(TEXTS, PREDICTIONS, LARGE, strict=True):
        asked = view.confidence < 0.9
        told = {"answer": large, "source": "large", "large": LargeAnswer(value=large)}
        made.append(
            {"input": text, "prediction": view} | (told if asked else {"answer": view.label, "source": "small"})
        )
    return made


@pytest.fixture(scope="module")
def tuned():
    return tune_threshold(PREDICTIONS, LABELS, LARGE)


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(records(), LABELS, large_answers=LARGE, threshold=0.9)


def test_an_evaluation_is_a_frame_of_the_chain_and_what_it_is_compared_with(evaluation):
    frame = evaluation.to_frame()
    assert list(frame.index) == ["this_chain", *evaluation.baselines]
    assert frame.loc["this_chain"].to_dict() == {
        "accuracy": evaluation.accuracy,
        "escalation_rate": evaluation.escalation_rate,
    }
    assert frame.loc["always_large", "accuracy"] == pytest.approx(20 / 24)


def test_its_parts_are_frames_too(evaluation):
    curve = evaluation.to_frame("curve")
    assert len(curve) == len(evaluation.curve)
    assert curve["accuracy"].tolist() == [point["accuracy"] for point in evaluation.curve]
    labels = evaluation.to_frame("labels")
    assert labels.loc["negative", "n"] == 12
    errors = evaluation.to_frame("errors")
    assert list(errors.index) == [error.row for error in evaluation.errors]
    assert set(errors["answer"]) == {"negative"}


def test_a_frame_without_rows_has_its_columns():
    right = evaluate(records()[1:3], LABELS[1:3], threshold=0.9)
    assert list(right.to_frame("errors").columns)[:3] == ["input", "label", "answer"]
    assert list(right.to_frame("curve").columns) == ["threshold", "escalation_rate", "accuracy"]


def test_a_tuned_threshold_is_the_frame_of_its_curve(tuned):
    frame = tuned.to_frame()
    assert len(frame) == len(tuned.curve)
    assert frame["escalation_rate"].tolist() == [point.escalation_rate for point in tuned.curve]


def test_both_are_plots(tuned, evaluation):
    pytest.importorskip("matplotlib")
    for result in (tuned, evaluation):
        (axes,) = result.plot().axes
        line = next(line for line in axes.lines if line.get_label() == "every threshold")
        assert np.allclose(line.get_ydata(), result.to_frame(*["curve"][: result is evaluation])["accuracy"])


def test_without_pandas_the_error_names_the_extra(evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="extra `report`"):
        evaluation.to_frame()


TAKING = {
    "SmallModelScorer.fit": lambda of: SmallModelScorer.fit(of(TEXTS), of(LABELS), encoder=TinyEncoder()).batch(TEXTS),
    "Bundle.fit": lambda of: Bundle.fit(of(TEXTS), of(LABELS), encoder=TinyEncoder()).scorer.batch(TEXTS),
    "MultiLabelScorer.fit": lambda of: MultiLabelScorer.fit(
        of(TEXTS), of([[label] for label in LABELS]), encoder=TinyEncoder()
    ).batch(TEXTS),
    "ExemplarSelector.fit": lambda of: ExemplarSelector.fit(
        of(TEXTS), of(LABELS), encoder=TinyEncoder(), predictions=of(PREDICTIONS)
    ).select_batch(["good?"]),
    "AnswerFusion.fit": lambda of: AnswerFusion.fit(of(PREDICTIONS), of(LABELS), of(LARGE)).to_dict(),
    "TrackRecord.fit": lambda of: TrackRecord.fit(of([0.6, 0.9] * 60), of([True, False] * 60)).to_dict(),
    "tune_threshold": lambda of: tune_threshold(of(PREDICTIONS), of(LABELS), of(LARGE), texts=of(TEXTS)).to_dict(),
    "evaluate": lambda of: evaluate(of(records()), of(LABELS), large_answers=of(LARGE), threshold=0.9).to_dict(),
    "in_batches": lambda of: in_batches(
        SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder()), of(TEXTS), title="Scoring", batch_size=5
    ),
}


@pytest.mark.parametrize("name", TAKING)
def test_columns_of_a_frame_are_taken_as_lists_are(name):
    assert TAKING[name](series) == TAKING[name](list)
