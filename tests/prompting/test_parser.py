from __future__ import annotations

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel

from dsplus_chains import LabelParser, NoneOfTheseError

PARSER = LabelParser(labels=["positive", "negative"], aliases={"pos": "positive", "thumbs down": "negative"})
INTENTS = LabelParser(labels=["card lost", "card_stolen", "lost", "c++", "c#", "n/a"])
NUMBERS = LabelParser(labels=[0, 1, 2, 10, 21])
BOOLEANS = LabelParser(labels=[True, False])


class Sentiment(Enum):
    GOOD = "positive"


class Verdict(BaseModel):
    label: str
    confidence: float = 0.5


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
        (PARSER, AIMessage("", tool_calls=[{"name": "f", "args": {"label": "negative"}, "id": "1"}]), "negative"),
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
        (BOOLEANS, "yes", True),
        (BOOLEANS, "No, it is broken", False),
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
        (INTENTS, "c"),
        (INTENTS, "lost and card stolen"),
        (NUMBERS, "-1"),
        (NUMBERS, "1.5"),
        (NUMBERS, "1 or 2"),
        (NUMBERS, "12"),
        (NUMBERS, True),
        (NUMBERS, 2.0),
        (NUMBERS, 99),
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
    assert parsed == label or parsed in (before + after).casefold()


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5, unique=True), st.data())
def test_every_label_is_read_back_as_itself_or_refused(labels, data):
    label = data.draw(st.sampled_from(labels))
    assert LabelParser(labels=labels).invoke(label) == label


def test_labels_that_differ_in_case_alone_are_told_apart_or_refused():
    parser = LabelParser(labels=["US", "us"])
    assert parser.invoke("us") == "us"
    with pytest.raises(OutputParserException, match=r"\['US', 'us'\]"):
        parser.invoke("Us.")


def test_a_streamed_answer_is_one_chunk():
    chunks = iter([AIMessageChunk("Pos"), AIMessageChunk("itive")])
    assert list(PARSER.transform(chunks)) == ["positive"]


def test_an_alias_of_an_unknown_label_is_refused():
    with pytest.raises(ValueError, match="not among"):
        LabelParser(labels=["a"], aliases={"x": "b"})
