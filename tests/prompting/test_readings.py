"""What `LabelParser` reads and what it refuses, kind by kind."""

from __future__ import annotations

import contextlib

import model_answers
import pytest
from clock import at_most
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage

from dsplus_chains import HintPromptBuilder, LabelParser

TWO = LabelParser(labels=["positive", "negative"])
DESCRIBED = LabelParser(
    labels=["refund", "delivery"], descriptions={"refund": "wants money back", "delivery": "asks where it is"}
)
STARS, DIGITS = LabelParser(labels=[1, 2, 3, 4, 5]), LabelParser(labels=["1", "2", "3", "4", "5"])


@pytest.mark.parametrize(("labels", "answer", "label"), model_answers.ALL)
def test_an_answer_as_models_write_it_is_read(labels, answer, label):
    read = LabelParser(labels=labels).parse(answer)
    assert (read, type(read)) == (label, type(label))


@pytest.mark.parametrize("answer", [text for texts in model_answers.UNDECIDED.values() for text in texts])
def test_what_says_more_or_less_than_a_label_is_refused(answer):
    with pytest.raises(OutputParserException):
        TWO.parse(answer)


@pytest.mark.parametrize(
    "reason",
    [
        "Reason: on closer look it is negative.",
        "Reason: The tone is rather negative, all in all.",
        "Explanation: it could also be negative",
        "The reviewer expresses that it is negative.",
        "The text shows that it is not positive.",
        "Reason: the review is anything but positive.",
        "It contains nothing positive.",
        "Reason: negative",
        "Confidence: negative",
        "Reason: but negative fits better.",
        "Reason: it may not be.",
        "Reason: this isn't true.",
        "The text needs another review.",
    ],
)
def test_a_reason_that_denies_the_answer_is_none(reason):
    for answer in ("Positive. {}", "Label: positive\n{}", "The sentiment is positive.\n\n{}"):
        with pytest.raises(OutputParserException):
            TWO.parse(answer.format(reason))


@pytest.mark.parametrize(
    "reason",
    [
        "Reason: the text is positive.",
        "Explanation: there is nothing negative about it.",
        "The reviewer mentions some negative aspects, but praises the rest.",
        "Reason: the positive parts outweigh the negative ones.",
        "Reason: The tone is clearly positive.",
    ],
)
def test_a_reason_that_names_labels_in_passing_is_one(reason):
    for answer in ("Positive. {}", "Label: positive\n{}", "The sentiment is positive.\n\n{}"):
        assert TWO.parse(answer.format(reason)) == "positive"


@pytest.mark.parametrize(
    "around",
    [
        *("<label>{}</label>", "<answer> {} </answer>", '<class id="1">{}</class>', "[label]{}[/label]", "<{}>"),
        *("{}</s>", "{}<|im_end|>", "<label>{}", "<b>{}</b>", "**{}**", "`{}`", "```\n{}\n```", "~~~\n{}\n~~~"),
        *("\\boxed{{{}}}", "$\\boxed{{\\text{{{}}}}}$", "\\[\\boxed{{{}}}\\]", "\\boxed {{{}}}", "#### {}"),
        *("„{}“", "«{}»", "‹{}›", "「{}」", "『{}』。", "【{}】", "《{}》", "（{}）", "｛{}｝", "״{}״", "”{}”"),
        *("\u200f{}", "\u2067{}\u2069", "\u061c{}", "\ufeff{}", "{}\u200b", "\u00a0{}\u3000"),
        *("{}。", "{}．", "{}！", "{}、", "{}۔", "{}।", "{}؛", "{}։", "• {}", "◦ {}", "▪ {}", "● {}", "→ {}", "✔️ {}"),
        *(
            "Label: {}",
            "label={}",
            "Label → {}",
            "Label：{}",
            "Label - {}",
            "label\t{}",
            "答案：{}",
            "答案是{}。",
            "答：{}",
        ),
        *(
            "Antwort: {}",
            "Die Antwort ist {}.",
            "Réponse : {}",
            "Respuesta: {}",
            "Ответ: {}",
            "정답: {}",
            "الإجابة: {}",
        ),
        *("「{}」です。", "{}です", "정답은 {}입니다.", "这是{}。", "Απάντηση: {}", "תשובה: {}", "उत्तर: {}।"),
    ],
)
def test_separators_wrappers_and_scripts_are_read_as_kinds(around):
    assert TWO.parse(around.format("positive")) == "positive"
    with pytest.raises(OutputParserException):
        TWO.parse(around.format("not positive"))
    with pytest.raises(OutputParserException):
        TWO.parse(around.format("positive negative"))


@pytest.mark.parametrize(
    "note",
    [
        *(" (confidence 0.8)", " (confidence: 0,8)", " (confidence .8)", " (confidence: 8/10)", " (confidence ≈ 0.8)"),
        *(" (80%)", " [0.93]", ", 80% confidence", " with high confidence", " (very confident)", " (p=0.9)"),
        *(
            " | confidence: 0.8",
            "; Confidence: high",
            ": 0.93",
            " (I am 95% sure)",
            "\nConfidence: 0.8",
            "（置信度0.9）",
        ),
    ],
)
@pytest.mark.parametrize("before", ["", "Label: "])
def test_a_note_of_confidence_does_not_matter(before, note):
    assert TWO.parse(f"{before}positive{note}") == "positive"


@pytest.mark.parametrize(
    "note", [" (10%)", ": 0.1", " (not)", " (?)", ": false", " ❌", " (he says)", " or so", ": 0.1\nnegative: 0.2", "…"]
)
def test_a_note_that_speaks_against_a_label_does(note):
    with pytest.raises(OutputParserException):
        TWO.parse(f"positive{note}")


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "refund: wants money back",
            "- refund: wants money back",
            "**refund**: wants money back",
            "1. refund: wants money back",
        ),
        *(
            "refund (wants money back)",
            "refund - wants money back",
            "Refund: Wants money back.",
            "refund | wants money back",
        ),
        *("Label: refund: wants money back", "Label: refund (wants money back)", "`refund`: wants money back"),
    ],
)
def test_the_prompts_own_line_is_read(answer):
    assert DESCRIBED.parse(answer) == "refund"


@pytest.mark.parametrize(
    "answer",
    [
        "refund: no",
        "refund: wants no money back",
        "refund: wants money back?",
        "wants money back",
        "refund wants",
        "refund: asks where it is",
    ],
)
def test_another_line_is_not(answer):
    with pytest.raises(OutputParserException):
        DESCRIBED.parse(answer)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("refund: wants money back", "refund"),
        ("- **refund**: asks for the money", "refund"),
        ("refund - the customer wants the money back", "refund"),
        ("refund: wants no money back", None),
        ("refund: not sure", None),
        ("refund: or delivery", None),
        ("refund: is it?", None),
        ("refund: needs another review", None),
    ],
)
def test_a_label_and_its_reason_in_one_line_are_read_without_descriptions(answer, label):
    parser = LabelParser(labels=["refund", "delivery"])
    if label is None:
        with pytest.raises(OutputParserException):
            parser.parse(answer)
    else:
        assert parser.parse(answer) == label


@pytest.mark.parametrize(
    "answer",
    [
        *("5", "5.0", "5.", "+5", "(5)", "５", "٥", "5 stars", "5★", "5 out of 5", "Rating: 5.0", "It is a 5."),
        *("5.0 (Excellent)", "5 - Excellent", "5: Very good", "**5** (Excellent)", "Score: 5 (Outstanding!)"),
        *(
            '{"label": 5}',
            '{"label": "5"}',
            '{"label": 5.0}',
            '{"stars": 5}',
            '{"label": [5]}',
            '{"label": {"value": 5}}',
        ),
    ],
)
def test_numbers_are_read_in_any_type(answer):
    assert (STARS.parse(answer), DIGITS.parse(answer)) == (5, "5")


@pytest.mark.parametrize(
    "answer",
    [
        "5.5",
        "4-5",
        "4/5",
        "4 or 5",
        "-5",
        "+-5",
        "5 of the reviews",
        "5 out of 10",
        "5,5",
        "6",
        "5 (not really)",
        "45",
        '{"label": 5.5}',
        '{"n": 5}',
    ],
)
def test_other_numbers_are_not(answer):
    for parser in (STARS, DIGITS):
        with pytest.raises(OutputParserException):
            parser.parse(answer)


@pytest.mark.parametrize(
    "answer",
    [
        *(
            '{"urgency": "positive"}',
            '{"weather": "positive"}',
            '{"customer_sentiment": "positive"}',
            '{"ticketType": "positive"}',
        ),
        *(
            '{"class_name": "positive"}',
            '{"labels": ["positive"]}',
            '[{"label": "positive", "score": 0.9}]',
            '{"标签": "positive"}',
        ),
        *(
            '{"label": {"name": "positive"}}',
            '{"data": {"label": "positive"}}',
            '{"predictions": [{"label": "positive"}]}',
        ),
        *('{"name": "f", "arguments": {"label": "positive"}}', '{"answer": "positive", "alternatives": ["negative"]}'),
        *(
            '"{\\"label\\": \\"positive\\"}"',
            '```json{"label": "positive"}```',
            "{'label': 'positive'}",
            "{label: positive}",
        ),
        *(
            '{"text": "negative", "label": "positive"}',
            '{"label": "positive", "reason": "{"}',
            'So: {"label": "positive"}',
        ),
    ],
)
def test_json_is_read_in_any_shape(answer):
    assert TWO.parse(answer) == "positive"


@pytest.mark.parametrize(
    "answer",
    [
        *('{"rejected": "positive"}', '{"forbidden": "positive"}', '{"isnt": "positive"}', '{"premise": "positive"}'),
        *(
            '{"label": "positive"',
            '```json\n{"label": "pos',
            '{"label": "positive", "',
            '{"positive": true}',
            '{"label": null}',
        ),
        *(
            '{"label": "positive", "final_label": "negative"}',
            '{"positive": 0.1, "negative": 0.9}',
            '{"label": "positive"} no',
        ),
        *(
            'Never output\n```json\n{"label": "positive"}\n```',
            'Not {"label": "positive"}',
            '{"tone": "positive", "mood": "bad"}',
        ),
    ],
)
def test_json_that_does_not_give_the_label_is_refused(answer):
    with pytest.raises(OutputParserException):
        TWO.parse(answer)


BREAKS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\n\n", " \n\t", "\n- ", "\n**"]


@pytest.mark.parametrize("gap", BREAKS)
@pytest.mark.parametrize(
    "before", ["Label: not", "not", "It is not", "I rule out", "Rejected", "It would be wrong to say"]
)
def test_a_line_break_turns_no_sentence_into_a_label(before, gap):
    spam = LabelParser(labels=["spam", "ham"])
    for after in ("spam", "Label: spam"):
        with pytest.raises(OutputParserException):
            spam.parse(f"{before}{gap}{after}")


@pytest.mark.parametrize("gap", BREAKS[:-2])
def test_a_label_of_several_lines_is_refused(gap):
    with pytest.raises(ValueError, match="one line"):
        LabelParser(labels=["spam", f"not{gap}spam"])
    with pytest.raises(ValueError, match="one line"):
        HintPromptBuilder(labels=["spam", f"not{gap}spam"], instruction="?")


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    "positive",
                    "negative",
                    "Label:",
                    "not",
                    "the answer is",
                    "{",
                    "}",
                    "[",
                    "]",
                    '"',
                    "'",
                    ":",
                    "```json\n",
                ),
                *(
                    "<label>",
                    "</label>",
                    "<think>",
                    "</think>",
                    "\\boxed{",
                    "$",
                    "\n",
                    "\u2028",
                    "。",
                    "？",
                    "\u202e",
                    "\ud800",
                ),
                *(
                    "{'label': ",
                    '{"label": ',
                    "9" * 400,
                    "1e999",
                    "NaN",
                    "\x00",
                    "*",
                    "|",
                    "(0.9)",
                    "none of these",
                    "İ",
                ),
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=14,
).map(" ".join)
HOSTILE_VALUES = st.recursive(
    st.one_of(HOSTILE, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["label", "answer", "text", "arguments", "x", 1, None]), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(HOSTILE_VALUES)
def test_a_hostile_answer_is_a_label_that_stands_in_it_or_an_error_of_one_kind(answer):
    try:
        label = TWO.parse(answer)
    except OutputParserException:
        return
    assert label in {"positive", "negative"}
    assert label in repr(answer).casefold().replace("\\u200b", "")


@settings(max_examples=100, derandomize=True, deadline=None)
@given(HOSTILE)
def test_without_any_label_in_a_text_none_is_read(text):
    parser = LabelParser(labels=["quux", "zyzzyva", "card lost"], aliases={"blorb": "quux"})
    with pytest.raises(OutputParserException):
        parser.parse(text)


PIECES = [
    *(" ", "{", "}", "[", "<a>", "<a>b</a>", "[a]b[/a]", "<think>", "\n", "positive\n", "positive. ", "\\boxed{", '"'),
    *("the final ", "so ", "「", "label: ", "1. ", '{"label": "positive"} ', "</s>", "_", "$", "\u0301", "\u200b", "İ"),
    *("because ", "confidence: 0.9 ", "it is positive or ", "positive。", "\ud800"),
]


@pytest.mark.parametrize("size", [39_000, 10_000_000])
@pytest.mark.parametrize("piece", PIECES)
def test_ten_megabytes_are_read_in_under_a_second(piece, size):
    text = f"```json\n{{{piece * (size // len(piece))}x"
    with at_most(1), pytest.raises(OutputParserException) as caught:
        TWO.parse(text)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    "answer",
    [
        AIMessage([{"type": "text", "text": "positive "}] * 100_000),
        AIMessage("", tool_calls=[{"name": "f", "args": {"label": "positive " * 1_000_000}, "id": "1"}]),
        {"label": ["positive"] * 1_000_000},
        '{"a":' * 200_000,
        '{"label": "' + "positive " * 1_000_000 + '"}',
    ],
    ids=["blocks", "tool call", "list", "nested", "json"],
)
def test_large_answers_of_other_shapes_are_too(answer):
    with at_most(1), pytest.raises(OutputParserException):
        TWO.parse(answer)


def test_names_inside_one_another_are_read_in_no_time():
    parser = LabelParser(labels=["good", "bad"])
    with at_most(1):
        for name in ("The tag is: ", "The tone is: the label is ", "Answer: "):
            with contextlib.suppress(OutputParserException):
                parser.parse(name * 30 + "good xyz")
    assert parser.parse("Answer: the label is: the tone is good") == "good"
