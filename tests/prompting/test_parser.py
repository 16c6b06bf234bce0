from __future__ import annotations

from enum import Enum

import pytest
from clock import at_most
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel

from dsplus_chains import LabelParser, NoneOfTheseError
from dsplus_chains.schema import is_one_line

PARSER = LabelParser(labels=["positive", "negative"], aliases={"pos": "positive", "thumbs down": "negative"})
INTENTS = LabelParser(labels=["card lost", "card_stolen", "lost", "c++", "c#", "n/a"])
NUMBERS = LabelParser(labels=[0, 1, 2, 10, 21])
SIGNED = LabelParser(labels=[-1, 0, 1])
BOUNDS = LabelParser(labels=["<=50K", ">50K"])
TOXIC = LabelParser(labels=["toxic", "non-toxic"])
GRADES = LabelParser(labels=["A+", "A", "A-", "B"])
BOOLEANS = LabelParser(labels=[True, False])


class Sentiment(Enum):
    GOOD = "positive"


class Verdict(BaseModel):
    label: str
    confidence: float = 0.5


def calling(*arguments, text=""):
    """A message that says something and calls a tool with each of these arguments."""
    return AIMessage(text, tool_calls=[{"name": "f", "args": given, "id": str(n)} for n, given in enumerate(arguments)])


@pytest.mark.parametrize(
    ("parser", "answer", "label"),
    [
        (PARSER, "positive", "positive"),
        (PARSER, "  NEGATIVE.\n", "negative"),
        (PARSER, '"Positive"', "positive"),
        (PARSER, "**positive**", "positive"),
        (PARSER, "- positive", "positive"),
        (PARSER, "[negative]", "negative"),
        (PARSER, "pos", "positive"),
        (PARSER, "Thumbs-down!", "negative"),
        (PARSER, "The sentiment of this review is negative.", "negative"),
        (PARSER, "It reads as **negative** to me", "negative"),
        (PARSER, "There are positive aspects, but no.\nAnswer: negative", "negative"),
        (PARSER, "The answer is negative, since nothing positive is said", None),
        (PARSER, "Label: positive\n\nExplanation: there is nothing negative about it", "positive"),
        (PARSER, "<think>negative? no.</think>positive", "positive"),
        (PARSER, '{"label": "negative", "confidence": 0.3}', "negative"),
        (PARSER, '```json\n{"sentiment": "Negative"}\n```', "negative"),
        (PARSER, '["positive"]', "positive"),
        (PARSER, '{"answer": "The label is positive."}', "positive"),
        (PARSER, "{negative}", "negative"),
        (PARSER, AIMessage("positive"), "positive"),
        (PARSER, AIMessage([{"type": "text", "text": "positive"}]), "positive"),
        (PARSER, calling({"label": "negative"}), "negative"),
        (PARSER, calling({"label": "negative"}, text="It is positive."), "negative"),
        (PARSER, calling({"label": "negative"}, {"label": "negative"}, text="Let me think."), "negative"),
        (PARSER, calling({}, text="negative"), "negative"),
        (PARSER, Sentiment.GOOD, "positive"),
        (PARSER, Verdict(label="negative"), "negative"),
        (PARSER, {"label": "negative"}, "negative"),
        (PARSER, "ｐｏｓｉｔｉｖｅ", "positive"),
        (INTENTS, "card lost", "card lost"),
        (INTENTS, "It is Card-Lost, I think", "card lost"),
        (INTENTS, "card stolen", "card_stolen"),
        (INTENTS, "C++", "c++"),
        (INTENTS, "the language is c#.", "c#"),
        (INTENTS, "N/A", "n/a"),
        (NUMBERS, "1", 1),
        (NUMBERS, "Label 10.", 10),
        (NUMBERS, "The answer is 2", 2),
        (NUMBERS, 21, 21),
        (NUMBERS, '{"label": 2}', 2),
        (PARSER, "Negative. The review mentions some positive aspects, but ...", "negative"),
        (PARSER, "Step 1: it is positive in tone.\nStep 2: the point is made.\n\nnegative", "negative"),
        (PARSER, "the user is happy, I think</think>positive", "positive"),
        (PARSER, 'Here it is:\n```json\n{"final_answer": "negative"}\n```\nDone.', "negative"),
        (SIGNED, "−1", -1),
        (SIGNED, "The label is -1", -1),
        (BOUNDS, "<= 50K", "<=50K"),
        (BOUNDS, "≤50K", "<=50K"),
        (TOXIC, "non‑toxic", "non-toxic"),
        (TOXIC, "It is Non–toxic.", "non-toxic"),
        (GRADES, "A−", "A-"),
        (BOOLEANS, "yes", True),
        (BOOLEANS, "No, it is broken", False),
        (NUMBERS, "2, as I said", 2),
        (BOOLEANS, "True.", True),
        (BOOLEANS, '{"label": false}', False),
        (BOOLEANS, True, True),
    ],
)
def test_an_answer_becomes_its_label(parser, answer, label):
    if label is None:  # more than one label near the marker: an error, not a guess
        with pytest.raises(OutputParserException):
            parser.invoke(answer)
        return
    parsed = parser.invoke(answer)
    assert parsed == label
    assert type(parsed) is type(label)


@pytest.mark.parametrize(
    ("parser", "answer"),
    [
        (PARSER, ""),
        (PARSER, "neutral"),
        (PARSER, "positive or negative"),
        (PARSER, "positive negative"),
        (PARSER, "not positive"),
        (PARSER, "It isn't positive"),
        (PARSER, "It isn’t positive"),
        (PARSER, "I cannot determine whether this is positive"),
        (PARSER, "Sorry, it might be negative"),
        (PARSER, "non-negative"),
        (PARSER, "positively"),
        (PARSER, "Label: positive or negative"),
        (PARSER, "My answer is: negative. No, the answer is: positive."),
        (PARSER, '{"a": "positive", "b": "negative"}'),
        (PARSER, '{"label": "meh"}'),
        (PARSER, "[]"),
        (PARSER, {}),
        (PARSER, None),
        (PARSER, 1),
        (PARSER, AIMessage("", additional_kwargs={"refusal": "I must not say positive"})),
        (PARSER, calling({"label": "meh"}, text="positive")),
        (PARSER, calling({"label": "positive"}, {"label": "negative"}, text="positive")),
        (INTENTS, "c"),
        (INTENTS, "lost and card stolen"),
        (NUMBERS, "-1"),
        (NUMBERS, "1.5"),
        (NUMBERS, "1,5"),
        (NUMBERS, "1,000"),
        (PARSER, "He claims it is positive"),
        (PARSER, "It fails to be positive"),
        (PARSER, "It is supposed to be positive"),
        (NUMBERS, "1 or 2"),
        (NUMBERS, "12"),
        (NUMBERS, True),
        (NUMBERS, 2.0),
        (NUMBERS, 99),
        (PARSER, "Positive? No."),
        (PARSER, "positive: no"),
        (PARSER, "Positive isn't right."),
        (PARSER, "Label: positive is incorrect"),
        (PARSER, "anything but positive"),
        (PARSER, "The opposite of positive."),
        (PARSER, "false positive"),
        (PARSER, "Is it positive?"),
        (PARSER, "The small model's prediction is positive. I disagree."),
        (PARSER, "The small model's prediction is positive. However, it is negative."),
        (PARSER, "A naive classification is positive. But actually it's negative."),
        (PARSER, "Label: positive. Actually no: it is sarcastic, so negative."),
        (PARSER, "The overall sentiment is mixed, with some positive aspects."),
        (PARSER, "<think>\nthe user seems positive"),
        (PARSER, '{"rejected": "positive"}'),
        (PARSER, '{"alternatives": ["positive"]}'),
        (PARSER, '{"label": "positive", "label": "negative"}'),
        (PARSER, '{"label": ' + "9" * 5000 + "}"),
        (PARSER, "[" * 100_000),
        (LabelParser(labels=["a", "?"]), "..."),
        (SIGNED, "minus 1"),
        (BOUNDS, "50K"),
        (BOUNDS, "<50K"),
        (GRADES, "B-"),
        (GRADES, "A plus"),
        (GRADES, "The answer is a bit unclear."),
        (LabelParser(labels=["very positive", "positive"]), "very **positive**"),
        (LabelParser(labels=["other", "refund"]), "On the other hand, it is hard to say."),
        (NUMBERS, ".1"),
        (NUMBERS, "2 out of 10"),
        (NUMBERS, "1/10"),
        (NUMBERS, "There are 2 reasons the customer is unhappy."),
        (BOOLEANS, "I have no idea."),
        (BOOLEANS, "There is no doubt that this is fraud."),
        (BOOLEANS, 1),
        (BOOLEANS, "yes and no"),
    ],
)
def test_what_is_not_exactly_one_label_is_an_error_never_a_guess(parser, answer):
    with pytest.raises(OutputParserException, match=r"expected|refused"):
        parser.invoke(answer)


@pytest.mark.parametrize("answer", ["none of these", "None of these.", "None of these labels fits."])
def test_none_of_these_is_an_error_of_its_own(answer):
    with pytest.raises(NoneOfTheseError) as caught:
        PARSER.invoke(answer)
    assert caught.value.llm_output == answer


def test_none_of_these_may_be_a_label():
    assert LabelParser(labels=["none of these", "a"]).invoke("None of these") == "none of these"


@given(label=st.sampled_from(["positive", "negative"]), before=st.text(max_size=40), after=st.text(max_size=40))
def test_text_around_a_label_never_makes_it_another(label, before, after):
    try:
        parsed = PARSER.invoke(f"{before} {label} {after}")
    except OutputParserException:
        return
    assert (
        parsed == label
        or parsed in (before + after).casefold()
        or {"pos", "thumbs down"} & set((before + after).split())
    )


LABELS = st.text(min_size=1).filter(str.strip).filter(is_one_line)


@given(st.lists(LABELS, min_size=1, max_size=5, unique=True), st.data())
def test_every_label_is_read_back_as_itself_or_refused(labels, data):
    label = data.draw(st.sampled_from(labels))
    assert LabelParser(labels=labels).invoke(label) == label


def test_labels_that_differ_in_case_alone_are_told_apart_or_refused():
    parser = LabelParser(labels=["US", "us"])
    assert parser.invoke("us") == "us"
    with pytest.raises(OutputParserException, match=r"\['US', 'us'\]"):
        parser.invoke("Us.")


@pytest.mark.parametrize("loop", ["<think>" * 20_000, "answer: c an " * 10_000, "positive or " * 10_000, "* " * 50_000])
def test_a_model_that_loops_costs_no_time(loop):
    with at_most(3), pytest.raises(OutputParserException):
        PARSER.invoke(loop)


def test_the_one_field_of_a_schema_may_be_a_truth_value():
    class Spam(BaseModel):
        is_spam: bool

    parser = LabelParser(labels=[True, False])
    assert [parser.invoke(said) for said in (Spam(is_spam=False), {"is_spam": True}, {"spam": False})] == [
        False,
        True,
        False,
    ]
    for said in ({"is_spam": 1}, {"rejected": True}, {"is_spam": True, "is_urgent": True}):
        with pytest.raises(OutputParserException):
            parser.invoke(said)


def test_one_strange_answer_does_not_cost_the_others_theirs():
    strange = {("a", "b"): "positive"}
    good, bad, again = PARSER.batch(["positive", strange, "negative"], return_exceptions=True)
    assert (good, again) == ("positive", "negative")
    assert isinstance(bad, OutputParserException)


def test_a_streamed_answer_is_one_chunk():
    chunks = iter([AIMessageChunk("Pos"), AIMessageChunk("itive")])
    assert list(PARSER.transform(chunks)) == ["positive"]


def test_an_alias_of_an_unknown_label_is_refused():
    with pytest.raises(ValueError, match="not among"):
        LabelParser(labels=["a"], aliases={"x": "b"})
