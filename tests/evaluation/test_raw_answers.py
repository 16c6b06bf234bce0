"""Answers of an app, as they were logged: they are read as a chain would read them, and the rest is counted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from dsplus_chains.evaluation import evaluate
from dsplus_chains.evaluation.raw_answers import read_answers
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import DSPlusWarning, InvalidInputError, LabelWarning, LargeAnswer, Prediction
from dsplus_chains.tuning.threshold_tuning import tune_threshold


class Reply(BaseModel):
    label: str


KNOWN = ["billing", "card lost", "top up"]
SURE = Prediction(label="billing", confidence=0.9, probabilities={"billing": 0.9, "card lost": 0.05, "top up": 0.05})
RAW = {
    "a sentence of one word": "Billing.",
    "capitals": "BILLING",
    "white space": "  billing\n",
    "a marker": "Label: billing",
    "Markdown": "**Billing**",
    "quotes": '"billing"',
    "JSON": '{"label": "billing"}',
    "an object": {"label": "billing"},
    "a message": AIMessage("Billing."),
    "a message of blocks": AIMessage([{"type": "text", "text": "billing"}]),
    "an object of a schema": Reply(label="billing"),
    "a large answer": LargeAnswer(value="billing"),
    "a scalar of numpy": np.str_("billing"),
}


def rows(raw):
    """Eight rows: one answer is a label as it stands, the others are raw."""
    labels = ["billing"] * 4 + ["card lost"] * 2 + ["top up"] * 2
    return labels, [raw] * 4 + ["Card lost!", "CARD_LOST"] + ["top up", "Top up."]


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_raw_answers_count_as_what_they_say(raw):
    labels, answers = rows(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DSPlusWarning)
        assert read_answers(answers, labels=labels, predictions=[SURE] * 8).values == labels
        records = [{"prediction": SURE, "answer": answer, "source": "large"} for answer in answers]
        result = evaluate(records, labels, large_answers=answers)
        tuned = tune_threshold([SURE] * 8, labels, answers)
    assert (result.large_accuracy, result.accuracy) == (1.0, 1.0)
    assert tuned.large_accuracy.value == 1.0


UNREADABLE = {
    "another label": "refund",
    "two labels": "billing or top up",
    "a number": "7",
    "a message": AIMessage("I cannot say"),
    "an object": {"label": "refund"},
    "a negation": "not billing",
    "symbols": "???",
    "a list": ["billing", "top up"],
    "a question": "Is it billing?",
    "an object of nothing": {},
}


@pytest.mark.parametrize("given", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_counted_and_told(given):
    labels, answers = rows("Billing.")
    answers[0] = given
    with pytest.warns(LabelWarning, match="1 of 8 large answers could not be read as a label"):
        read = read_answers(answers, labels=labels, predictions=[SURE] * 8)
    assert (read.values[0], read.unread) == (None, (0,))
    with pytest.warns(LabelWarning, match="1 of 8 large answers could not be read"):
        tuned = tune_threshold([SURE] * 8, labels, answers)
    assert tuned.unanswered == 1
    assert "1 of them with no label" in tuned.meaning
    with pytest.warns(LabelWarning, match="1 of 8 large answers could not be read"):
        result = evaluate(
            [{"prediction": SURE, "answer": "billing", "source": "small"}] * 8, labels, large_answers=answers
        )
    assert result.large_accuracy == 7 / 8
    assert any("1 of 8 large answers" in note for note in result.notes)


def test_a_tasks_parser_reads_its_aliases():
    labels, answers = rows("Billing.")
    parser = LabelParser(labels=KNOWN, aliases={"invoice": "billing"})
    answers[0] = "invoice"
    assert tune_threshold([SURE] * 8, labels, answers, parser=parser).large_accuracy.value == 1.0
    everything_raw = ["Invoice."] * 8
    assert tune_threshold([SURE] * 8, labels, everything_raw, parser=parser).large_accuracy.value == 0.5


def test_a_column_of_nothing_but_raw_texts_may_be_the_wrong_one():
    labels, _ = rows("")
    with pytest.raises(InvalidInputError, match=r"none that is a label; read them with LabelParser first"):
        tune_threshold([SURE] * 8, labels, ["Billing."] * 8)
    with pytest.raises(InvalidInputError, match="large answers of type int but labels of type str"):
        tune_threshold([SURE] * 8, labels, [7] * 8)


def test_labels_that_nobody_predicted_stand_and_are_wrong():
    labels, answers = rows("billing")
    answers[4:6] = ["refund", "card lost"]
    answers[7] = "top up"
    read = read_answers(answers, labels=labels, predictions=[SURE] * 8)
    assert (read.unread, read.strange, read.values[4]) == ((), (4,), "refund")
    assert read.notes == ("1 of 8 large answers are no label, such as 'refund': wrong",)


def test_an_error_is_no_answer_and_no_warning():
    labels, answers = rows("Billing.")
    answers[0] = TimeoutError("no answer")
    assert read_answers(answers, labels=labels, predictions=[SURE] * 8).values[0] is None


def test_integers_and_booleans_are_read_too():
    five = Prediction(label=5, confidence=0.9)
    read = read_answers(
        [5, "5", "5.", "4", AIMessage("4"), "Label: 5"], labels=[5, 5, 5, 4, 4, 5], predictions=[five] * 6
    )
    assert read.values == [5, 5, 5, 4, 4, 5]
    yes = Prediction(label=True, confidence=0.9)
    assert read_answers([True, "yes", "False"], labels=[True, True, False], predictions=[yes] * 3).values == [
        True,
        True,
        False,
    ]
