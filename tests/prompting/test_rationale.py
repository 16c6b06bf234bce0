"""A reason beside the label: asked for only if wanted, found in the answer, and kept in the record."""

from __future__ import annotations

import pytest
from clock import at_most
from fakes import predict
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import ValidationError

from dsplus_chains import HintPromptBuilder, LabelParser, data_shunt
from dsplus_chains.prompting.parser import NoneOfTheseError
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


def test_a_reason_is_read_from_the_raw_message_where_one_comes_beside_it():
    said = {"raw": AIMessage("negative\nReason: b"), "parsed": None, "parsing_error": ValueError("no JSON")}
    assert reason_in(said) == "b"
    assert LabelParser(labels=LABELS, rationale=True).invoke(said) == "negative"
    assert reason_in(AIMessage("<think>Reason: a</think>negative")) is None


FREE = "I lost my card, actually, so this is no joke"


def test_a_reason_that_was_asked_for_is_free():
    said = f"negative\nReason: {FREE}"
    with pytest.raises(OutputParserException):
        LabelParser(labels=LABELS).parse(said)
    assert LabelParser(labels=LABELS, rationale=True).parse(said) == "negative"


@pytest.mark.parametrize("answer", ["negative", '{"label": "negative"}', "Label: negative\nReason: it broke"])
def test_a_parser_of_reasons_reads_what_any_parser_reads(answer):
    assert LabelParser(labels=LABELS, rationale=True).parse(answer) == LabelParser(labels=LABELS).parse(answer)


NAMED = [*LABELS, "other", "reason: billing", "Return reason: damaged"]
"""Labels, of which some name a reason themselves."""
BROKE = "I actually broke it"


@pytest.mark.parametrize(
    ("said", "label", "reason"),
    [
        # numbered, as the prompt counts its lines
        (f"1. Label: negative\n2. Reason: {BROKE}", "negative", BROKE),
        (f"1) other\n2) Reason: {BROKE}", "other", BROKE),
        (f"(1) other\n(2) Reason: {BROKE}", "other", BROKE),
        ("(1) other\n(2) Reason: It broke (again)", "other", "It broke (again)"),
        (f"First: Label: other\nSecond: Reason: {BROKE}", "other", BROKE),
        (f"Line 1: other\nLine 2: Reason: {BROKE}", "other", BROKE),
        (f"1. **Label:** other\n2. **Reason:** {BROKE}", "other", BROKE),
        (f"**1. Label:** other\n**2. Reason:** {BROKE}", "other", BROKE),
        (f"- Label: other\n- Reason: {BROKE}", "other", BROKE),
        (f"Label: other\n> Reason: {BROKE}", "other", BROKE),
        # with the end of the prompt in front
        (f"Label and reason:\nLabel: other\nReason: {BROKE}", "other", BROKE),
        (f"**Label and reason:** other\nReason: {BROKE}", "other", BROKE),
        # in the next line
        (f"Label: other\n**Reason:**\n{BROKE}", "other", BROKE),
        (f"Label: other\nReason:\n\n- {BROKE}", "other", BROKE),
        (f"## Label\nother\n\n## Reason\n{BROKE}", "other", BROKE),
        (f"Reason:\n{BROKE}\n\nLabel: negative", "negative", BROKE),
        ("Label: negative\nReason:\nIt is not positive", "negative", "It is not positive"),
        ("Reason:\nLabel: negative", "negative", None),
        # behind another sign, and in one line
        (f"Label: other\nReason - {BROKE}", "other", BROKE),
        (f"Label: other\nReason — {BROKE}", "other", BROKE),
        (f"Label: other\nReason： {BROKE}", "other", BROKE),
        (f"Label: other\nReasoning: {BROKE}", "other", BROKE),
        (f"Label: other | Reason: {BROKE}", "other", BROKE),
        (f"Label: other (reason: {BROKE})", "other", BROKE),
        (f"Label: other, the reason: {BROKE}", "other", BROKE),
        # in fields
        ('{"label": "negative", "note": "the reason: it broke"}', "negative", None),
        (f'{{"label": "other", "reason": "{BROKE}"}}', "other", BROKE),
        (f'```json\n{{"label": "other", "reason": "{BROKE}"}}\n```', "other", BROKE),
        (f'Sure! {{"result": {{"label": "other", "short_reason": "{BROKE}"}}}}', "other", BROKE),
        ('[{"label": "other", "reasons": ["I actually", "broke it"]}]', "other", BROKE),
        (f"<label>other</label><reason>{BROKE}</reason>", "other", f"{BROKE}."),
        ('negative\nReason: the text has {"a": 1}', "negative", 'the text has {"a": 1}'),
        # labels that name a reason
        (f"Label: reason: billing\nReason: {BROKE}", "reason: billing", BROKE),
        (f"reason: billing\nReason: {BROKE}", "reason: billing", BROKE),
        (f"Reason: {BROKE}\nreason: billing", "reason: billing", BROKE),
        (f"**Label:** Return reason: damaged\n**Reason:** {BROKE}", "Return reason: damaged", BROKE),
        (f"Label: Return reason: damaged. Reason: {BROKE}", "Return reason: damaged", BROKE),
        ("Label: Return reason: damaged", "Return reason: damaged", None),
        # what any parser reads
        ("negative\nReason: fine screen.\nIt is bright.", "negative", "fine screen."),
    ],
)
def test_a_label_and_its_reason_are_read_however_they_are_laid_out(said, label, reason):
    parser = LabelParser(labels=NAMED, rationale=True)
    assert (parser.parse(said), parser.reason_in(said)) == (label, reason)
    task = TASK.replace(labels=NAMED)
    (record,) = chain(said, task=task).batch(["bad"])
    assert (record["answer"], record["large"].rationale) == (label, reason)


@pytest.mark.parametrize(
    "said",
    [
        "1. negative\n2. Reason: the review is positive",
        "negative\nReason - it is not negative.",
        "negative\nReason: the review is positive.",
        "negative\nReason: it is not negative.",
        "Reason: it broke.",
        "negative or positive\nReason: it broke.",
        "negative\nReason: it broke.\nNo, positive.",
        "negative\nReason:\nthe review is positive.",
        "negative\nReason:\npositive",
        "negative\nReason:\nNo, positive.",
        "negative\nReason:\nit broke\nNo, positive.",
        "negative for that reason - I like it",
        "The label is not\nReason: it broke\nnegative",
        '{"label": "negative", "reason": "the review is positive"}',
        '{"label": "negative", "reason": "it is not negative"}',
        '{"label": "negative", "label": "positive", "reason": "it broke"}',
        '{"reason": "it broke"}',
        "Label: Return reason: damaged\nReason: it is negative",
    ],
)
def test_a_reason_makes_no_answer_of_what_is_none_and_must_not_speak_against_its_label(said):
    with pytest.raises(OutputParserException) as error:
        LabelParser(labels=NAMED, rationale=True).parse(said)
    assert error.value.llm_output == said


def test_none_of_these_has_a_reason_too():
    with pytest.raises(NoneOfTheseError):
        LabelParser(labels=LABELS, rationale=True).parse("1. none of these\n2. Reason: I see neither")


def test_a_tool_call_has_its_reason_in_a_field():
    call = {"name": "Answer", "args": {"label": "negative", "reason": "it is positive"}, "id": "1"}
    answer = AIMessage("", tool_calls=[call])
    assert reason_in(answer) == "it is positive"
    assert LabelParser(labels=LABELS).parse(answer) == "negative"
    with pytest.raises(OutputParserException, match="speaks against"):
        LabelParser(labels=LABELS, rationale=True).parse(answer)


@pytest.mark.parametrize("part", ["- ", "reason: ", "1. ", "{", "**", "Label: reason: ", "Reason:\n", " \n"])
def test_a_reason_is_looked_for_in_linear_time(part):
    said = f"x{part * (30_000 // len(part))}x"
    with at_most(5), pytest.raises(OutputParserException):
        LabelParser(labels=NAMED, rationale=True).parse(said)


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
    with pytest.raises(ValidationError, match="group=4 and rationale=True"):
        TASK.arm(chat(), group=4)


def test_the_task_is_written_and_read_with_it():
    assert LabelTask.from_dict(TASK.to_dict()) == TASK
    assert LabelTask.from_dict({**TASK.to_dict(), "rationale": False}).task_hash != TASK.task_hash
