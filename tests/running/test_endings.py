"""How an answer ended, told by each provider in its own way."""

from __future__ import annotations

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration

from dsplus_chains import LabelParser
from dsplus_chains.prompting import CutOffError, RefusalError
from dsplus_chains.running.endings import as_refusal, check_ending, is_whole, spoken
from dsplus_chains.running.outage import is_outage

CARDS = LabelParser(labels=["card", "card lost"])

CUT = [
    {"finish_reason": "length"},
    {"finish_reason": "MAX_TOKENS"},
    {"finish_reason": "FinishReason.MAX_TOKENS"},
    {"finish_reason": "model_length"},
    {"finish_reason": "max_completion_tokens"},
    {"finish_reason": "lengthlength"},  # as LangChain joins the chunks of a stream
    {"finish_reason": "insufficient_system_resource"},
    {"finish_reason": "MALFORMED_FUNCTION_CALL"},
    {"finish_reason": "ERROR_LIMIT"},
    {"stop_reason": "max_tokens"},
    {"stop_reason": "model_context_window_exceeded"},
    {"stop_reason": "pause_turn"},
    {"stopReason": "max_tokens"},
    {"done_reason": "length"},
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    {"incomplete_details": {"reason": "max_output_tokens"}},
    {"status": "failed"},
    {"status": "cancelled"},
    {"truncated": True},
    {"stop_type": "limit"},
]

REFUSED = [
    {"finish_reason": "content_filter"},
    {"finish_reason": "content_filtered"},
    {"finish_reason": "SAFETY"},
    {"finish_reason": "PROHIBITED_CONTENT"},
    {"finish_reason": "BLOCKLIST"},
    {"finish_reason": "RECITATION"},
    {"finish_reason": "SPII"},
    {"finish_reason": "ERROR_TOXIC"},
    {"finish_reason": "sensitive"},
    {"stop_reason": "refusal"},
    {"stop_reason": "refusal", "stop_details": {"explanation": "I will not."}},
    {"stopReason": "guardrail_intervened"},
    {"stopReason": "content_filtered"},
    {"prompt_feedback": {"block_reason": "SAFETY"}},
    {"prompt_feedback": {"block_reason": "OTHER"}},
    {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
    {"is_blocked": True},
]

WHOLE = [
    {},
    {"finish_reason": "stop"},
    {"finish_reason": "STOP"},
    {"finish_reason": "stopstop"},
    {"finish_reason": "tool_calls"},
    {"finish_reason": "eos_token"},
    {"finish_reason": "COMPLETE"},
    {"finish_reason": None},
    {"stop_reason": "end_turn"},
    {"stop_reason": "stop_sequence"},
    {"stopReason": "tool_use"},
    {"done_reason": "stop"},
    {"status": "completed", "incomplete_details": None},
    {"prompt_feedback": {"block_reason": 0, "safety_ratings": []}},
    {"prompt_feedback": {"block_reason": "BLOCK_REASON_UNSPECIFIED"}},
    {"truncated": False, "is_blocked": False},
    {"model_name": "safety-model", "id": "length"},
    {"finish_reason": "a word that no provider uses yet"},
]

REFUSALS = [
    AIMessage("", additional_kwargs={"refusal": "I will not."}),
    AIMessage([{"type": "refusal", "refusal": "I will not."}]),
    AIMessage([{"type": "refusal", "refusal": "I will not.", "id": "msg_1", "index": 0}]),
    AIMessage([{"type": "text", "text": "card"}, {"type": "refusal", "refusal": "I will not."}]),
    AIMessage([{"type": "non_standard", "value": {"type": "refusal", "refusal": "I will not."}}]),
    AIMessage("card", additional_kwargs={"refusal": "I will not."}),
    AIMessage("I will not.", response_metadata={"finish_reason": "content_filter"}),
    AIMessage("", response_metadata={"stop_reason": "refusal", "stop_details": {"explanation": "I will not."}}),
    AIMessage("", response_metadata={"finish_reason": "SAFETY", "finish_message": "I will not."}),
    AIMessageChunk("", additional_kwargs={"refusal": "I will "})
    + AIMessageChunk("", additional_kwargs={"refusal": "not."}),
]


@pytest.mark.parametrize("metadata", CUT)
@pytest.mark.parametrize("text", ["card", "Label: card", '{"label": "card"}', ""])
def test_a_cut_answer_says_nothing(metadata, text):
    with pytest.raises(CutOffError, match="expected a whole one") as caught:
        CARDS.parse(AIMessage(text, response_metadata=metadata))
    assert caught.value.llm_output == text


@pytest.mark.parametrize("metadata", CUT)
def test_a_cut_tool_call_says_nothing_either(metadata):
    call = {"name": "f", "args": {"label": "card"}, "id": "1"}
    with pytest.raises(CutOffError):
        CARDS.parse(AIMessage("", tool_calls=[call], response_metadata=metadata))


@pytest.mark.parametrize("metadata", REFUSED)
def test_a_refusal_is_one_by_the_reason_alone(metadata):
    with pytest.raises(RefusalError, match="The large model refused"):
        CARDS.parse(AIMessage("card", response_metadata=metadata))
    assert not is_whole(AIMessage("", response_metadata=metadata))


@pytest.mark.parametrize("metadata", WHOLE)
def test_other_endings_do_not_matter(metadata):
    assert CARDS.parse(AIMessage("card", response_metadata=metadata)) == "card"
    assert is_whole(AIMessage("card", additional_kwargs=metadata))


@pytest.mark.parametrize("message", REFUSALS)
def test_a_refusal_is_told_in_the_models_words(message):
    with pytest.raises(RefusalError) as caught:
        CARDS.parse(message)
    assert caught.value.llm_output == "I will not."


def _status(code, status=400):
    response = httpx.Response(status, request=httpx.Request("POST", "http://x"))
    return openai.BadRequestError("I will not.", response=response, body={"code": code})


class ModelRefusalError(Exception):
    """As the newest LangChain calls it."""

    raw_message = AIMessage("", additional_kwargs={"refusal": "I will not."})


class ContentFilterFinishReasonError(Exception):
    """As a client calls it."""


class OpenAIRefusalError(Exception):
    """As langchain-openai calls it."""


def _wrapped(error):
    try:
        raise ValueError("no label") from error
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        ModelRefusalError("refused"),
        OpenAIRefusalError("I will not."),
        ContentFilterFinishReasonError("I will not."),
        _wrapped(OpenAIRefusalError("I will not.")),
        _status("content_filter"),
        _status("content_policy_violation"),
        _status("ResponsibleAIPolicyViolation"),
        _status("invalid_prompt"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_client_that_raises_a_refusal_has_been_answered(error):
    refusal = as_refusal(error)
    assert isinstance(refusal, RefusalError)
    assert "I will not." in refusal.llm_output
    assert refusal.__cause__ is error
    assert not is_outage(error)
    with pytest.raises(RefusalError):
        check_ending(spoken(error))


@pytest.mark.parametrize(
    "error",
    [TimeoutError("x"), ValueError("refusal"), KeyError("x"), _status("context_length"), _status(None), _status(400)],
)
def test_any_other_error_is_none(error):
    assert spoken(error) is None
    assert as_refusal(error) is error


def test_a_client_that_raises_at_a_cut_answer_has_been_answered_too():
    message = openai.types.chat.ChatCompletionMessage(role="assistant", content='{"label": "ca')
    choice = openai.types.chat.chat_completion.Choice(finish_reason="length", index=0, message=message)
    completion = openai.types.chat.ChatCompletion(
        id="1", choices=[choice], created=0, model="m", object="chat.completion"
    )
    with pytest.raises(CutOffError) as caught:
        check_ending(spoken(openai.LengthFinishReasonError(completion=completion)))
    assert caught.value.llm_output == '{"label": "ca'


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["finish_reason", "stop_reason", "status", "incomplete_details", "prompt_feedback", "x"]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.just("reason"), inner, max_size=1)),
        ),
    )
)
def test_no_metadata_makes_it_stumble(metadata):
    message = ChatGeneration(message=AIMessage("card", response_metadata=metadata)).message
    try:
        assert CARDS.parse(message) == "card"
    except (CutOffError, RefusalError):
        assert not is_whole(message)
