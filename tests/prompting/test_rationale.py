"""A reason beside the label: asked for only if wanted, found in the answer, and kept in the record."""

from __future__ import annotations

import pytest
from fakes import predict
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import ValidationError

from dsplus_chains import HintPromptBuilder, InvalidInputError, LabelParser, data_shunt
from dsplus_chains.prompting.rationale import LONGEST, cut_reason, reason_in
from dsplus_chains.task import LabelTask

LABELS = ["positive", "negative"]
TASK = LabelTask(labels=LABELS, instruction="Which sentiment?", hints="none", rationale=True)
SURE = [{"token": "negative", "logprob": -0.1}, {"token": "\nReason: it broke", "logprob": -5.0}]


def chat(*answers):
    """A chat model that gives its answers in turn, with log-probabilities."""
    said = [AIMessage(answer, response_metadata={"logprobs": {"content": SURE}}) for answer in answers]
    return GenericFakeChatModel(messages=iter(said))


def chain(*answers, task=TASK, **settings):
    return data_shunt(predict, chat(*answers), task=task, threshold=1.0, **settings)


@pytest.mark.parametrize(
    ("said", "rest", "reason"),
    [
        ("negative", "negative", None),
        ("negative\nReason: It  broke.", "negative", "It broke."),
        ("Label: negative\n\n**Reason:** It broke.", "Label: negative", "It broke."),
        ("negative. Reason: It broke.", "negative.", "It broke."),
        ("Reason: It broke.\nnegative", "negative", "It broke."),
        ("negative\n- Rationale: It broke.\nThanks!", "negative\n\nThanks!", "It broke."),
        ("negative\nReason:", "negative", None),
        ("the reason is unclear", "the reason is unclear", None),
        ("unreason: negative", "unreason: negative", None),
        ("negative\n理由: x", "negative\n理由: x", None),
        ("", "", None),
    ],
)
def test_the_first_reason_is_cut_out(said, rest, reason):
    assert cut_reason(said) == (rest, reason)


def test_a_long_reason_is_cut_off():
    reason = reason_in("negative\nReason: " + "so bad " * 500)
    assert reason is not None
    assert len(reason) <= LONGEST + 1  # the sign that it goes on


def test_a_reason_behind_thoughts_counts_and_one_in_thoughts_does_not():
    assert reason_in("<think>Reason: a</think>negative\nReason: b") == "b"
    assert reason_in(AIMessage("<think>Reason: a</think>negative")) is None


FREE = "I lost my card, actually, so this is no joke"


def test_a_reason_that_was_asked_for_is_free():
    said = f"negative\nReason: {FREE}"
    with pytest.raises(OutputParserException):
        LabelParser(labels=LABELS).parse(said)
    assert LabelParser(labels=LABELS, rationale=True).parse(said) == "negative"


@pytest.mark.parametrize(
    "said",
    [
        "negative\nReason: the review is positive.",
        "negative\nReason: it is not negative.",
        "Reason: it broke.",
        "negative or positive\nReason: it broke.",
        "negative\nReason: it broke.\nNo, positive.",
    ],
)
def test_a_reason_never_makes_an_answer_of_what_is_none(said):
    with pytest.raises(OutputParserException) as error:
        LabelParser(labels=LABELS, rationale=True).parse(said)
    assert error.value.llm_output == said


@pytest.mark.parametrize("answer", ["negative", '{"label": "negative"}', "Label: negative\nReason: it broke"])
def test_a_parser_of_reasons_reads_what_any_parser_reads(answer):
    assert LabelParser(labels=LABELS, rationale=True).parse(answer) == LabelParser(labels=LABELS).parse(answer)


def test_a_prompt_asks_for_a_reason_only_if_one_is_wanted():
    settings = {"labels": LABELS, "instruction": "Which?", "hints": "none"}
    without, wanted = (HintPromptBuilder(**settings, rationale=on).build("a").to_string() for on in (False, True))
    assert HintPromptBuilder(**settings).build("a").to_string() == without
    assert "Reason" not in without
    assert "at most 15 words" in wanted
    assert wanted.endswith("Label and reason:")
    assert without.split("- negative")[0] == wanted.split("- negative")[0]


def test_the_reason_is_in_the_record_and_the_confidence_of_a_whole_message_is_not():
    (record,) = chain("negative\nReason: It broke.").batch(["bad"])
    assert (record["answer"], record["large"].rationale) == ("negative", "It broke.")
    assert record["large"].confidence is None
    alone = chain("negative").invoke("bad")["large"]
    assert alone.rationale is None
    assert alone.confidence is not None


async def test_the_reason_is_there_however_the_chain_is_called():
    said = "negative\nReason: It broke."
    streamed = None
    for chunk in chain(said).stream("bad"):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed is not None
    awaited = await chain(said).ainvoke("bad")
    heard = chain(said).invoke("bad", {"callbacks": []})
    assert {one["large"].rationale for one in (streamed, awaited, heard)} == {"It broke."}


def test_each_row_has_its_own_reason_and_copies_share_it():
    (one, two, three) = chain("negative\nReason: a", "positive\nReason: b").batch(
        ["x", "x", "y"], {"max_concurrency": 1}
    )
    assert [one["large"].rationale, two["large"].rationale, three["large"].rationale] == ["a", "a", "b"]


def test_a_second_question_brings_the_reason_of_the_answer_that_was_read():
    record = chain("hard to say\nReason: a", "negative\nReason: b").invoke("bad")
    assert (record["answer"], record["large"].rationale) == ("negative", "b")


def test_without_the_option_no_reason_is_kept():
    record = chain("negative\nReason: It broke.", task=TASK.replace(rationale=False)).invoke("bad")
    assert (record["answer"], record["large"].rationale) == ("negative", None)


def test_a_reason_has_no_room_in_structured_output_or_in_a_group():
    with pytest.raises(ValidationError, match="rationale=True and structured=True"):
        TASK.replace(structured=True)
    with pytest.raises(InvalidInputError, match="group=4 and rationale=True"):
        TASK.arm(chat(), group=4)


def test_the_task_is_written_and_read_with_it():
    assert LabelTask.from_dict(TASK.to_dict()) == TASK
    assert LabelTask.from_dict({**TASK.to_dict(), "rationale": False}).task_hash != TASK.task_hash
