"""`LabelAsker`: one question for all, one more for those whose answer was no label."""

from __future__ import annotations

import json
import pickle
import warnings
from enum import Enum
from typing import Any

import httpx
import pytest
from fakes import CountingChat, Recording
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import Field

from dsplus_chains import (
    ConfidenceBranch,
    HintPromptBuilder,
    LabelAsker,
    LabelParser,
    NoneOfTheseError,
    Prediction,
    WiringError,
    data_shunt,
)
from dsplus_chains.prompting import CutOffError, RefusalError
from dsplus_chains.prompting.structured import held_to

LABELS = ["positive", "negative"]
PARSER = LabelParser(labels=LABELS)
DOWN = httpx.ConnectError("down")


def asked(answers, **settings):
    """An asker of a model that gives an input its answers in turn, and the model."""
    turns = {text: iter(said) for text, said in answers.items()}

    def answer(prompt):
        text = prompt if isinstance(prompt, str) else prompt.to_messages()[0].content
        said = next(turns[text])
        if isinstance(said, Exception):
            raise said
        return AIMessage(said) if isinstance(said, str) else said

    model = Recording(answer)
    return LabelAsker(model=model, parser=PARSER, **settings), model


class ContentFilterFinishReasonError(Exception):
    """As a client calls it."""


class LengthFinishReasonError(Exception):
    """As a client calls it."""


def raised_length():
    return LengthFinishReasonError("cut")


def test_what_is_no_label_is_asked_for_once_more_all_in_one_batch():
    asker, model = asked({"a": ["positive"], "b": ["maybe", "negative"], "c": ["so so", "Positive."]})
    assert asker.batch(["a", "b", "c"]) == ["positive", "negative", "positive"]
    assert model.sizes == [3, 2]
    assert all(isinstance(prompt, ChatPromptValue) for prompt in model.inputs[3:])


async def test_asynchronously_it_is_the_same():
    asker, model = asked({"a": ["positive"], "b": ["maybe", "negative"], "c": ["so so", "hm"]})
    *read, unread = await asker.abatch(["a", "b", "c"], return_exceptions=True)
    assert read == ["positive", "negative"]
    assert isinstance(unread, OutputParserException)
    assert unread.llm_output == "hm"
    assert model.sizes == [3, 2]


def test_a_stream_is_one_chunk():
    asker, model = asked({"a": ["maybe", "negative"]})
    assert list(asker.stream("a")) == ["negative"]
    assert model.sizes == [1, 1]


def test_twice_no_label_is_the_parsers_error_and_nothing_more_is_asked():
    asker, model = asked({"a": ["maybe", "perhaps", "positive"]})
    with pytest.raises(OutputParserException, match="perhaps"):
        asker.invoke("a")
    assert model.sizes == [1, 1]


def test_without_retries_the_first_answer_counts():
    asker, model = asked({"a": ["maybe", "positive"]}, retries=0)
    with pytest.raises(OutputParserException, match="maybe"):
        asker.invoke("a")
    assert model.sizes == [1]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("None of these.", NoneOfTheseError),
        (AIMessage("", additional_kwargs={"refusal": "I will not."}), RefusalError),
        (AIMessage([{"type": "refusal", "refusal": "I will not."}]), RefusalError),
        (AIMessage("positive", response_metadata={"finish_reason": "content_filter"}), RefusalError),
        (AIMessage("", response_metadata={"stop_reason": "refusal"}), RefusalError),
        (ContentFilterFinishReasonError("refused"), RefusalError),
        (TimeoutError("no answer"), TimeoutError),
    ],
)
def test_none_of_these_refusals_and_failures_are_not_asked_again(said, error):
    asker, model = asked({"a": [said, "positive"]}, escape=True)
    with pytest.raises(error):
        asker.invoke("a")
    assert model.sizes == [1]


@pytest.mark.parametrize("text", ["positive", "", "<think>Is it", "It is clearly posi"])
@pytest.mark.parametrize("metadata", [{"finish_reason": "length"}, {"status": "incomplete"}])
async def test_a_cut_answer_is_asked_for_again_whatever_it_says(text, metadata):
    cut = AIMessage(text, response_metadata=metadata)
    asker, model = asked({"a": [cut, "negative"], "b": ["positive"], "c": [cut, cut]})
    *read, unread = await asker.abatch(["a", "b", "c"], return_exceptions=True)
    assert (read, model.sizes) == (["negative", "positive"], [3, 2])
    assert isinstance(unread, CutOffError)
    assert model.inputs[-1].messages[-1].content.startswith("Your answer was cut off. ")


@pytest.mark.parametrize("way", [raised_length, lambda: AIMessage("pos", response_metadata={"done_reason": "length"})])
def test_a_client_that_raises_at_a_cut_answer_is_asked_again_too(way):
    asker, model = asked({"a": [way(), "negative"]})
    assert (asker.invoke("a"), model.sizes) == ("negative", [1, 1])


def test_a_refusal_of_the_second_question_is_one():
    asker, model = asked({"a": ["hm", AIMessage("", response_metadata={"finish_reason": "SAFETY"})]})
    with pytest.raises(RefusalError):
        asker.invoke("a")
    assert model.sizes == [1, 1]


def test_none_of_these_is_no_answer_where_it_was_not_offered():
    asker, model = asked({"a": ["None of these.", "positive"], "b": ["None of these.", "none of these"]})
    read, unread = asker.batch(["a", "b"], return_exceptions=True)
    assert (read, model.sizes) == ("positive", [2, 2])
    assert (type(unread), unread.llm_output) == (OutputParserException, "none of these")
    assert "not offered" in str(unread)


@pytest.mark.parametrize("taken", [{"labels": ["a", "None_of these!"]}, {"aliases": {"none of these": "a"}}])
def test_none_of_these_cannot_be_offered_beside_a_label_that_is_called_so(taken):
    parser = LabelParser(**{"labels": ["a", "b"], **taken})
    with pytest.raises(ValueError, match=r"escape=True.*Give it another"):
        LabelAsker(model=lambda prompt: "a", parser=parser, escape=True)
    assert LabelAsker(model=lambda prompt: "none of these", parser=parser).invoke("x") in parser.labels


def test_where_the_second_call_fails_the_reason_for_it_stands():
    asker, _ = asked({"a": ["maybe", TimeoutError("no answer")], "b": ["positive"]})
    unread, read = asker.batch(["a", "b"], return_exceptions=True)
    assert read == "positive"
    assert isinstance(unread, OutputParserException)
    assert unread.llm_output == "maybe"


def test_a_batch_that_raises_costs_nobody_the_answer_that_is_in():
    class Rude(Recording):
        def batch(self, inputs, config=None, **kwargs):
            if self.sizes:
                raise ConnectionError("gone")
            return super().batch(inputs, config, **kwargs)

    model = Rude(lambda prompt: "positive" if prompt == "a" else "maybe")
    read, unread = LabelAsker(model=model, parser=PARSER).batch(["a", "b"], return_exceptions=True)
    assert read == "positive"
    assert isinstance(unread, OutputParserException)


@pytest.mark.parametrize(
    "prompt", ["a", [HumanMessage("a")], [("human", "a")], ChatPromptValue(messages=[HumanMessage("a")])]
)
def test_any_kind_of_prompt_becomes_a_conversation(prompt):
    model = Recording(lambda value: AIMessage("positive" if "exactly one" in str(value) else "maybe"))
    assert LabelAsker(model=model, parser=PARSER).invoke(prompt) == "positive"
    assert [message.type for message in model.inputs[1].messages] == ["human", "ai", "human"]


@pytest.mark.parametrize(
    ("said", "repeated", "quoted"),
    [
        (
            'a "b"\n\nLabel: positive or negative?',
            'a "b"\n\nLabel: positive or negative?',
            r'"a \"b\" Label: positive or negative?" is',
        ),
        ("x" * 5000, "x" * 1000 + "…", f'"{"x" * 80}…" is'),
        ("  ", "…", "An empty answer is"),
        ("<think>positive? negative?</think>", "…", "An empty answer is"),
        (
            AIMessage("positive?", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
            '{"x": 1}',
            r'"{\"x\": 1}" is',
        ),
        (7, "7", '"7" is'),
    ],
)
def test_the_answer_is_quoted_short_and_on_one_line(said, repeated, quoted):
    asker, model = asked({"a": [said, "positive"]})
    assert asker.invoke("a") == "positive"
    _, own, again = model.inputs[1].messages
    assert own.content == repeated
    assert not own.tool_calls
    assert again.content.splitlines()[0].startswith(quoted)
    assert again.content.splitlines()[1:] == ["- positive", "- negative"]


def test_pruned_labels_are_not_offered_by_the_second_question():
    asker, model = asked({"a": ["maybe", "positive"]}, escape=True)
    asker.invoke("a")
    assert "negative" not in model.inputs[1].messages[-1].content
    assert 'or with "none of these"' in model.inputs[1].messages[-1].content


def test_a_model_that_answers_with_labels_will_do():
    numbers = LabelParser(labels=[0, 1])
    assert LabelAsker(model=lambda prompt: 0, parser=numbers).batch(["a", "b"]) == [0, 0]
    arm = RunnableLambda(lambda prompt: AIMessage("1")) | StrOutputParser()
    assert LabelAsker(model=arm, parser=numbers).invoke("a") == 1


def test_the_model_is_in_the_graph_and_its_run_under_ours():
    model = FakeListChatModel(responses=["positive"])
    chain = data_shunt(lambda text: Prediction(label="positive"), model, labels=LABELS, instruction="?", threshold=None)
    assert "FakeListChatModel" in chain.get_graph().draw_mermaid()


def test_the_tokens_of_both_calls_are_counted():
    def usage(n):
        return {"input_tokens": n, "output_tokens": 1, "total_tokens": n + 1}

    class Counting(FakeListChatModel):
        def _generate(self, messages, *args, **kwargs):
            result = super()._generate(messages, *args, **kwargs)
            result.generations[0].message.usage_metadata = usage(10 * len(messages))
            return result

    arm = RunnableLambda(lambda record: [HumanMessage(record["input"])]) | LabelAsker(
        model=Counting(responses=["maybe", "negative"]), parser=PARSER
    )
    branch = ConfidenceBranch(large=arm, wants="record", threshold=None)
    record = branch.invoke({"input": "x", "prediction": Prediction(label="positive")})
    assert (record["answer"], record["large"].usage) == (
        "negative",
        {**usage(40), "output_tokens": 2, "total_tokens": 42},
    )


def test_it_can_be_dumped_and_loaded():
    asker = LabelAsker(model=LabelParser(labels=LABELS), parser=PARSER, escape=True, retries=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = loads(dumps(asker), allowed_objects=[LabelAsker, LabelParser], valid_namespaces=["dsplus_chains"])
    assert loaded == asker


@pytest.mark.parametrize("settings", [{"retries": 2}, {"retries": -1}, {"retry": 1}])
def test_other_settings_are_refused(settings):
    with pytest.raises(ValueError, match="retr"):
        LabelAsker(model=lambda prompt: "a", parser=PARSER, **settings)


# --- structured output -----------------------------------------------------------------------------------------------


def openai(*contents, **message):
    """ChatOpenAI over a server that gives these contents (or fails) in turn, and the requests that it got."""
    requests, turns = [], iter(contents)

    def reply(request):
        requests.append(json.loads(request.content))
        if isinstance(content := next(turns), Exception):
            raise content
        said = {"role": "assistant", "content": content, **message}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "gpt-5-mini", "usage": usage}
        return httpx.Response(200, json={**body, "choices": [{"index": 0, "finish_reason": "stop", "message": said}]})

    client = httpx.Client(transport=httpx.MockTransport(reply))
    return ChatOpenAI(model="gpt-5-mini", api_key="none", http_client=client, max_retries=0), requests


class Choosing(FakeListChatModel):
    """Chooses among the members of an Enum class, as `LocalChatModel` does; what it answers is a member."""

    def with_structured_output(self, schema, **kwargs):
        if kwargs or not (isinstance(schema, type) and issubclass(schema, Enum)):
            raise ValueError("an Enum class, and nothing else")
        return RunnableLambda(lambda prompt: list(schema)[-1])


def test_openai_is_held_to_a_schema_strictly_and_the_retry_too():
    model, requests = openai('{"label": "neutral"}', '{"label": "negative"}')
    asker = LabelAsker(model=model, parser=PARSER, structured=True, escape=True)
    assert asker.invoke([SystemMessage("Which?"), HumanMessage("It broke.")]) == "negative"
    for request in requests:
        schema = request["response_format"]["json_schema"]
        assert schema["strict"] is True
        assert schema["schema"]["properties"]["label"]["enum"] == ["positive", "negative", "none of these"]
    assert [message["role"] for message in requests[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert requests[1]["messages"][2]["content"] == '{"label": "neutral"}'


class Held(CountingChat):
    """Answers with the first of the texts that it is held to, and records those; at first with nothing, if `slow`."""

    function: Any = None
    slow: bool = False
    held: list[Any] = Field(default_factory=list)

    def with_structured_output(self, schema, **kwargs):
        return self.bind(choices=tuple(schema["properties"]["label"]["enum"]))

    def _generate(self, messages, *args, choices, **kwargs):
        self.held.append(choices)
        said = "?" if self.slow and len(messages) == 2 else choices[0]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])


def offering(*shares, **settings):
    """A prompt with hard hints, after a small model that gives the labels these shares."""
    builder = HintPromptBuilder(labels=["a", "b", "c"], instruction="Which?", hints="hard", **settings)
    prediction = Prediction(label=None, confidence=None, probabilities=dict(zip("abc", shares, strict=True)))
    return builder.invoke({"input": "x", "prediction": prediction})


def holding(**settings):
    model = Held(**settings)
    return LabelAsker(model=model, parser=LabelParser(labels=["a", "b", "c"]), structured=True), model


@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_each_prompt_holds_the_model_to_what_it_offers(batch):
    asker, model = holding()
    prompts = [offering(0.2, 0.3, 0.5, top_k=k) for k in (1, 2, 3)]
    found = getattr(asker, batch)(prompts)
    assert (await found if batch == "abatch" else found) == ["c", "b", "a"]
    assert set(model.held) == {("c", "none of these"), ("b", "c", "none of these"), ("a", "b", "c")}


@pytest.mark.parametrize(
    ("settings", "held"),
    [
        ({"top_k": 2}, ("b", "c", "none of these")),
        ({"strong_labels": ["a"]}, ("b", "c", "none of these")),
        ({"top_k": 2, "template": "{input}? {labels}"}, ("b", "c", "none of these")),
        ({"top_k": 3}, ("a", "b", "c")),
    ],
)
def test_prompts_that_offer_the_same_are_one_batch_whichever_label_is_the_likeliest(settings, held):
    asker, model = holding()
    asker.batch([offering(0.2, 0.3, 0.5, **settings), offering(0.2, 0.5, 0.3, **settings)])
    assert (model.sizes, model.held) == ([2], [held, held])


def test_the_second_question_holds_the_model_to_the_same():
    asker, model = holding(slow=True)
    assert asker.invoke(offering(0.2, 0.3, 0.5, top_k=1)) == "c"
    assert model.held == [("c", "none of these")] * 2


def test_prompts_that_offer_different_labels_are_one_batch_of_a_model_that_cannot_be_held():
    model = Recording(lambda prompt: "a")
    asker = LabelAsker(model=model, parser=LabelParser(labels=["a", "b", "c"]), structured=True)
    assert asker.batch([offering(0.2, 0.3, 0.5, top_k=k) for k in (1, 2, 3)]) == ["a", "a", "a"]
    assert model.sizes == [3]


def with_raw(message, parsed=None, error=None):
    """What ``with_structured_output(..., include_raw=True)`` gives."""
    return {"raw": message, "parsed": parsed, "parsing_error": error}


@pytest.mark.parametrize(
    "answer",
    [
        with_raw(AIMessage('{"code": 1}'), {"sentiment": "positive"}),
        with_raw(AIMessage("Positive."), error=ValueError("no JSON")),
        with_raw(AIMessage("Positive.")),
    ],
)
def test_an_answer_that_comes_with_its_raw_message_is_read_as_it_was_parsed(answer):
    asker, model = asked({"a": [answer]})
    assert asker.invoke("a") == "positive"
    assert model.sizes == [1]


def test_the_raw_message_tells_of_its_end_and_is_what_is_quoted():
    cut = with_raw(AIMessage("{", response_metadata={"finish_reason": "length"}), {"sentiment": "positive"})
    refused = with_raw(AIMessage("", additional_kwargs={"refusal": "no"}), error=ValueError("no JSON"))
    asker, model = asked({"a": [cut, "negative"], "b": [refused], "c": [with_raw(AIMessage("hm")), "negative"]})
    first, refusal, last = asker.batch(["a", "b", "c"], return_exceptions=True)
    assert (first, last) == ("negative", "negative")
    assert isinstance(refusal, RefusalError)
    assert [prompt.messages[1].content for prompt in model.inputs[3:]] == ["{", "hm"]


def test_a_structured_refusal_is_one():
    model, requests = openai(None, refusal="I will not.")
    with pytest.raises(RefusalError, match="I will not"):
        LabelAsker(model=model, parser=PARSER, structured=True).invoke("x")
    assert len(requests) == 1


@pytest.mark.parametrize("wrap", [lambda model: model.with_retry(), lambda model: model.bind(stop=["!"])])
def test_a_wrapped_model_stays_wrapped(wrap):
    model, requests = openai('{"label": "1"}')
    wrapped = wrap(model)
    held = held_to(wrapped, ["0", "1"])
    assert type(held) is type(wrapped)
    assert LabelAsker(model=wrapped, parser=LabelParser(labels=[0, 1]), structured=True).invoke("x") == 1
    assert "response_format" in requests[0]
    assert requests[0].get("stop") == (["!"] if "stop" in getattr(wrapped, "kwargs", {}) else None)


def test_each_of_a_model_and_its_fallbacks_is_held_and_a_refusal_is_still_one():
    (first, asked_first), (second, asked_second) = openai(DOWN), openai(None, refusal="I will not.")
    models = first.with_fallbacks([second.with_retry()])
    with pytest.raises(RefusalError, match="I will not"):
        LabelAsker(model=models, parser=PARSER, structured=True).invoke("x")
    assert ["response_format" in request for request in (*asked_first, *asked_second)] == [True, True]


@pytest.mark.parametrize(
    "other", [RunnableLambda(lambda _: "negative"), FakeListChatModel(responses=["negative"]), Choosing(responses=[""])]
)
def test_a_fallback_of_another_kind_costs_the_model_nothing(other):
    model, requests = openai(DOWN)
    models = model.with_fallbacks([other])
    assert LabelAsker(model=models, parser=PARSER, structured=True).invoke("x") == "negative"
    assert requests[0]["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("model", [FakeListChatModel(responses=["negative"]), RunnableLambda(lambda _: "negative")])
def test_a_model_without_structured_output_is_asked_for_text(model):
    assert held_to(model, LABELS) is None
    asker = LabelAsker(model=model, parser=PARSER, structured=True)
    assert asker.batch(["x", "y"]) == ["negative", "negative"]


@pytest.mark.parametrize(("labels", "last"), [(LABELS, "negative"), ([0, 1], 1), ([True, False], False)])
def test_a_model_that_chooses_members_of_an_enum_will_do(labels, last):
    asker = LabelAsker(model=Choosing(responses=["?"]), parser=LabelParser(labels=labels), structured=True)
    assert asker.invoke("x") == last
    assert pickle.loads(pickle.dumps(asker)).parser == asker.parser
    with pytest.raises(NoneOfTheseError):
        LabelAsker(**{**dict(asker), "escape": True}).invoke("x")


def test_a_structured_output_that_cannot_be_a_label_is_refused_where_it_is_wired():
    class Other(FakeListChatModel):
        def with_structured_output(self, schema, **kwargs):
            raise ValueError("only trees")

    with pytest.raises(ValueError, match="only trees"):
        LabelAsker(model=Other(responses=["?"]), parser=PARSER, structured=True)


class Short(RunnableLambda):
    """A Runnable whose batch loses a row."""

    def batch(self, inputs, config=None, **kwargs):
        return ["positive"]


def test_a_model_that_loses_a_row_is_an_error_of_each_row_and_never_a_wrong_label():
    found = LabelAsker(model=Short(str), parser=PARSER).batch(["a", "b"], return_exceptions=True)
    assert ["got 2 inputs but returned 1" in str(error) for error in found] == [True, True]


def test_alternatives_that_are_chosen_per_call_are_each_held_and_configurable_fields_are_left_to_text(
    caplog, monkeypatch
):
    monkeypatch.setattr("dsplus_chains.running.telling._told", set())

    class Choosing(FakeListChatModel):
        def with_structured_output(self, schema, **kwargs):
            return self.bind()

    model = Choosing(responses=["positive"]).configurable_alternatives(
        ConfigurableField(id="llm"), default_key="cheap", big=Choosing(responses=["negative"])
    )
    asker = LabelAsker(model=model, parser=PARSER, structured=True)
    assert asker.invoke("x") == "positive"
    assert asker.with_config(configurable={"llm": "big"}).invoke("x") == "negative"
    either = model.configurable_alternatives(ConfigurableField(id="other"), plain=RunnableLambda(lambda _: "negative"))
    asker = LabelAsker(model=either, parser=PARSER, structured=True)
    assert asker.with_config(configurable={"other": "plain"}).invoke("x") == "negative"
    fields = Choosing(responses=["positive"]).configurable_fields(responses=ConfigurableField(id="said"))
    assert caplog.messages == []
    assert [held_to(one, LABELS) for one in (fields, fields)] == [None, None]
    (told,) = caplog.messages
    assert "cannot be held to structured output" in told


PRUNING = HintPromptBuilder(labels=["x", "y", "z", "other"], instruction="Which?", hints="hard", top_k=2)
UNSURE = Prediction(label="x", confidence=0.4, probabilities={"x": 0.4, "y": 0.3, "z": 0.2, "other": 0.1})


async def test_a_prompt_whose_way_out_is_the_parsers_alias_is_not_asked():
    model = Recording(lambda prompt: AIMessage("none of these"))
    parser = LabelParser(labels=["x", "y", "z", "other"], aliases={"none of these": "other"})
    asker = LabelAsker(model=model, parser=parser)
    prompts = [PRUNING.build({"input": "?", "prediction": UNSURE}), "no way out"]
    pruned, plain = asker.batch(prompts, return_exceptions=True)
    assert isinstance(pruned, WiringError)
    assert "Got a prompt that offers it" in str(pruned)
    assert plain == "other"
    assert model.sizes == [1]
    with pytest.raises(WiringError):
        await asker.ainvoke(prompts[0])


def test_the_second_question_lists_what_the_first_one_offered():
    offer = HintPromptBuilder(labels=["positive", "negative"], instruction="Which?", hints="none")
    model = Recording(lambda prompt: AIMessage("hm"))
    asker = LabelAsker(model=model, parser=LabelParser(labels=["positive", "negative", "mixed"]))
    with pytest.raises(OutputParserException):
        asker.invoke(offer.build("?"))
    assert model.inputs[-1].messages[-1].content.endswith("Answer with one of:\n- positive\n- negative")
