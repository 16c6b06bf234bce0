from __future__ import annotations

import asyncio
import math
import operator
import warnings
from functools import reduce

import pytest
from fakes import CountingChat, DownChat, Gauge, Recording, record_of
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough

from dsplus_chains import ConfidenceBranch, HintPromptBuilder, InvalidInputError, LabelParser, Prediction
from dsplus_chains.schema import LargeAnswer, WiringError, is_kept, threshold_for


def record(confidence, label="negative", **more):
    return {"input": "so so", "prediction": Prediction(label=label, confidence=confidence), **more}


def fail(_):
    raise TimeoutError("no answer in 5 s")


# --- who is kept -----------------------------------------------------------------------------------------------------


@given(confidence=st.one_of(st.none(), st.floats(0, 1)), threshold=st.one_of(st.none(), st.floats(0, 1)))
def test_kept_iff_the_confidence_is_known_and_reaches_the_threshold(confidence, threshold):
    branch = ConfidenceBranch(large=lambda _: "positive", threshold=threshold)
    source = branch.invoke(record(confidence))["source"]
    kept = confidence is not None and threshold is not None and confidence >= threshold
    assert source == ("small" if kept else "large")


def test_none_defers_even_certainty():
    assert ConfidenceBranch(large=lambda _: "positive", threshold=None).invoke(record(1.0))["source"] == "large"


def test_a_prediction_without_label_is_deferred():
    branch = ConfidenceBranch(large=lambda _: "positive", threshold=0.0)
    assert branch.invoke(record(1.0, label=None))["source"] == "large"


def test_a_threshold_by_label_defers_labels_that_are_not_in_it():
    branch = ConfidenceBranch(large=lambda _: "large", threshold={"negative": 0.6, "neutral": None})
    labels = ["negative", "negative", "neutral", "positive"]
    records = [record(c, label) for c, label in zip([0.6, 0.59, 1.0, 1.0], labels, strict=True)]
    assert [r["source"] for r in branch.batch(records)] == ["small", "large", "large", "large"]


def test_true_and_one_never_mix():
    assert threshold_for({1: 0.5}, Prediction(label=True, confidence=0.9)) is None
    assert threshold_for({True: 0.5}, Prediction(label=True, confidence=0.9)) == 0.5
    assert not is_kept(Prediction(label=True, confidence=0.9), None)


@pytest.mark.parametrize("threshold", [1.5, -0.1, "0.9", True, float("nan"), {"negative": 2}])
def test_a_bad_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match=r"Got threshold.* but expected a value in \[0, 1\]"):
        ConfidenceBranch(large=fail, threshold=threshold)


# --- what comes out --------------------------------------------------------------------------------------------------


def test_only_deferred_rows_reach_the_large_arm_in_one_batch():
    large = Recording(lambda r: "positive")
    branch = ConfidenceBranch(large=large, threshold=0.9, wants="record")
    records = [record(0.95, id=1), record(0.5, id=2), record(0.9, id=3), record(None, id=4)]
    results = branch.batch(records)
    assert large.sizes == [2]
    assert [r["id"] for r in large.inputs] == [2, 4]
    assert [r["source"] for r in results] == ["small", "large", "small", "large"]
    assert [r["id"] for r in results] == [1, 2, 3, 4]
    assert "large" not in results[0]
    assert results[1]["large"].value == "positive"


def test_nothing_deferred_is_no_call():
    large = Recording(lambda r: "positive")
    ConfidenceBranch(large=large, threshold=0.1).batch([record(0.5)] * 3)
    assert large.sizes == []


def test_an_answer_that_was_already_there_does_not_survive():
    branch = ConfidenceBranch(large=lambda _: "positive", threshold=0.9)
    stale = {"answer": "old", "source": "fallback", "error": "old", "large": "old"}
    for confidence in (0.95, 0.5):
        result = branch.invoke(record(confidence, **stale))
        assert "error" not in result
        assert result["answer"] in {"negative", "positive"}
        assert sum_of(branch.stream(record(confidence, **stale))) == result


@pytest.mark.parametrize("value", ["text", 3, None, {}, {"prediction": "positive"}, [record(0.5)]])
def test_what_is_no_record_is_refused_with_advice(value):
    with pytest.raises(InvalidInputError, match="expected a record with a Prediction under 'prediction'"):
        ConfidenceBranch(large=fail, threshold=0.9).invoke(value)


def test_nested_records_are_merged_and_their_answer_wins():
    inner = ConfidenceBranch(large=lambda _: "positive", threshold=0.7, tier="medium")
    outer = ConfidenceBranch(large=inner, threshold=0.9)
    results = outer.batch([record(c, id=7) for c in (0.95, 0.8, 0.5)])
    assert [r["source"] for r in results] == ["small", "medium", "large"]
    assert [r["answer"] for r in results] == ["negative", "negative", "positive"]
    assert [("large" in r, r["id"]) for r in results] == [(False, 7), (False, 7), (True, 7)]


async def test_tiers_with_scorers_of_their_own_agree_in_every_way_to_call():
    def rescore(r):
        second = Prediction(label="positive", confidence=0.8)
        return {**r, "prediction": second, "tiers": [*r.get("tiers", []), r["prediction"]]}

    third = RunnableLambda(rescore) | ConfidenceBranch(large=lambda _: "positive", threshold=0.9)
    second = RunnableLambda(rescore) | ConfidenceBranch(large=third, threshold=0.9, wants="record", tier="medium")
    chain = ConfidenceBranch(large=second, threshold=0.9, wants="record")
    result = chain.invoke(record(0.5))
    assert [p.confidence for p in result["tiers"]] == [0.5, 0.8]
    assert (result["answer"], result["source"]) == ("positive", "large")
    assert sum_of(chain.stream(record(0.5))) == result
    assert sum_of([chunk async for chunk in chain.astream(record(0.5))]) == result


# --- nothing lost ----------------------------------------------------------------------------------------------------


async def test_a_failing_large_model_leaves_the_small_answer_with_the_reason():
    branch = ConfidenceBranch(large=Recording(fail), threshold=0.9)
    for result in (
        branch.invoke(record(0.5)),
        await branch.ainvoke(record(0.5)),
        sum_of(branch.stream(record(0.5))),
        sum_of([chunk async for chunk in branch.astream(record(0.5))]),
    ):
        assert (result["answer"], result["source"]) == ("negative", "fallback")
        assert result["error"] == "TimeoutError: no answer in 5 s"


def test_a_failing_row_does_not_touch_its_neighbours():
    large = Recording(lambda r: fail(r) if r["id"] == 1 else "positive")
    results = ConfidenceBranch(large=large, threshold=0.9, wants="record").batch([record(0.5, id=i) for i in range(3)])
    assert [r["source"] for r in results] == ["large", "fallback", "large"]


def test_the_error_is_raised_where_the_user_says_so():
    branch = ConfidenceBranch(large=Recording(fail), threshold=0.9, on_large_error="raise")
    kept, failed = branch.batch([record(0.95), record(0.5)], return_exceptions=True)
    assert kept["source"] == "small"
    assert isinstance(failed, TimeoutError)


@pytest.mark.parametrize(
    ("spare", "told"),
    [
        (RunnableLambda(lambda _: "rule"), {"answer": "rule", "source": "fallback", "error": "ConnectionError: down"}),
        (CountingChat(function=lambda _: "other") | StrOutputParser(), {"answer": "other", "source": "large"}),
    ],
)
async def test_what_an_arm_falls_back_on_is_not_the_large_model_unless_it_is_one(spare, told):
    arm = ChatPromptTemplate.from_template("{review}") | DownChat().with_fallbacks([spare]) | StrOutputParser()
    branch = ConfidenceBranch(large=arm, threshold=0.9)
    result = branch.invoke(record(0.5))
    assert {key: result[key] for key in ("answer", "source", "error") if key in result} == told
    assert ("large" in result) is (told["source"] == "large")
    assert sum_of(branch.stream(record(0.5))) == result
    assert await branch.ainvoke(record(0.5)) == result
    assert sum_of([chunk async for chunk in branch.astream(record(0.5))]) == result


def test_without_a_small_answer_the_error_is_raised():
    with pytest.raises(TimeoutError):
        ConfidenceBranch(large=Recording(fail), threshold=0.9).invoke(record(None, label=None))


def test_an_answer_that_is_no_label_becomes_a_fallback_that_keeps_what_was_said():
    model = FakeListChatModel(responses=["I would rather not say."])
    large = HintPromptBuilder(labels=["a", "b"], instruction="?") | model | LabelParser(labels=["a", "b"])
    result = ConfidenceBranch(large=large, threshold=0.9).invoke(record(0.5, label="a"))
    assert (result["answer"], result["source"]) == ("a", "fallback")
    assert result["error"].startswith("OutputParserException: Got 'I would rather not say.'")
    assert "troubleshooting" not in result["error"]
    assert result["large"].value == "I would rather not say."


@pytest.mark.parametrize("bad", [None, ["too", "many", "answers"]])
def test_an_arm_that_breaks_the_batch_contract_loses_nothing(bad):
    class Broken(Recording):
        def batch(self, inputs, config=None, **kwargs):
            if bad is None:
                raise ConnectionError("down")
            return bad

    results = ConfidenceBranch(large=Broken(fail), threshold=0.9).batch([record(0.5), record(0.95)])
    assert [r["source"] for r in results] == ["fallback", "small"]


def test_an_answer_of_none_is_a_failure():
    result = ConfidenceBranch(large=lambda _: None, threshold=0.9).invoke(record(0.5))
    assert result["source"] == "fallback"
    assert "answered None" in result["error"]


class ModelRefusalError(Exception):
    """As the newest LangChain calls it."""


@pytest.mark.parametrize(
    "answer",
    [
        AIMessage([{"type": "refusal", "refusal": "I will not."}]),
        AIMessage("I will not.", response_metadata={"finish_reason": "content_filter"}),
        ModelRefusalError("I will not."),
    ],
)
def test_a_refusal_is_marked_and_what_was_said_is_kept(answer):
    def large(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    arm = RunnableLambda(large) | LabelParser(labels=["positive", "negative"])
    result = ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5))
    assert (result["answer"], result["source"], result["large"].value) == ("negative", "fallback", "I will not.")
    assert result["error"].startswith("RefusalError: ")


def test_a_keyboard_interrupt_is_no_large_error():
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ConfidenceBranch(large=interrupt, threshold=0.9).invoke(record(0.5))


async def test_cancelling_cancels():
    begun, heard = asyncio.Event(), []

    async def hang(_):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    branch = ConfidenceBranch(large=RunnableLambda(fail, afunc=hang), threshold=0.9)
    task = asyncio.create_task(branch.abatch([record(0.5)]))
    await asyncio.wait_for(begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["cancelled"]


# --- prompts that were there before ----------------------------------------------------------------------------------


def test_a_prompt_of_one_variable_is_fed_from_the_input():
    arm = ChatPromptTemplate.from_template("Sentiment of: {review}") | RunnableLambda(lambda p: p.messages[0].content)
    result = ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5))
    assert result["answer"] == "Sentiment of: so so"
    assert "review" not in result


@pytest.mark.parametrize(
    "wrap",
    [
        lambda arm: arm.with_retry(stop_after_attempt=2),
        lambda arm: arm.with_fallbacks([RunnableLambda(fail)]),
        lambda arm: RunnablePassthrough() | arm,
        lambda arm: arm.configurable_alternatives(ConfigurableField(id="arm"), other=RunnableLambda(fail)),
        lambda arm: arm.with_config(tags=["x"]),
    ],
)
def test_whatever_is_wrapped_around_an_app_its_prompt_is_fed(wrap):
    app = ChatPromptTemplate.from_template("Sentiment of: {review}") | RunnableLambda(lambda p: p.messages[0].content)
    result = ConfidenceBranch(large=wrap(app), threshold=0.9).invoke(record(0.5))
    assert (result["answer"], result["source"]) == ("Sentiment of: so so", "large")


def test_a_prompt_of_messages_is_fed_a_message():
    prompt = ChatPromptTemplate.from_messages([("placeholder", "{history}"), MessagesPlaceholder("messages")])
    arm = prompt | RunnableLambda(lambda p: p.messages[-1].content)
    assert ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5))["answer"] == "so so"


def test_a_bare_model_is_refused():
    with pytest.raises(ValueError, match="put a prompt before it"):
        ConfidenceBranch(large=FakeListChatModel(responses=["a"]), threshold=0.9)


def test_wrong_wiring_inside_the_arm_is_no_fallback_either():
    builder = HintPromptBuilder(labels=["a", "b"], instruction="?", template="{review}")
    branch = ConfidenceBranch(large=builder | LabelParser(labels=["a", "b"]), threshold=0.9)
    with pytest.raises(WiringError, match=r"wants \['review'\]"):
        branch.invoke(record(0.5, label="a"))
    with pytest.raises(WiringError):
        list(branch.stream(record(0.5, label="a")))


def test_configured_objects_are_told_apart_by_identity():
    def always(answer):
        return RunnableLambda(lambda _: answer)

    branch = ConfidenceBranch(large=always("default"), threshold=0.9)
    configured = branch.configurable_fields(large=ConfigurableField(id="arm"))
    configs = [{"configurable": {"arm": always("A")}}, {"configurable": {"arm": always("B")}}, {}]
    assert [r["answer"] for r in configured.batch([record(0.5)] * 3, configs)] == ["A", "B", "default"]


@pytest.mark.parametrize(
    "arm",
    [
        RunnableLambda(lambda _: '{"label": "a", "why": "because"}') | JsonOutputParser(),
        RunnableParallel(answer=lambda _: "x", source=lambda _: "tool"),
        RunnableParallel(answer=lambda _: "x", source=lambda _: "tool", input=lambda r: r["input"]),
        RunnableLambda(lambda _: ["a", "list"]),
        RunnableLambda(lambda _: 7),
        RunnableLambda(lambda _: False),
    ],
)
async def test_whatever_an_arm_yields_stream_and_invoke_agree(arm):
    branch = ConfidenceBranch(large=arm, threshold=0.9, wants="record")
    expected = branch.invoke(record(0.5))
    assert expected["source"] in {"large", "tool"}
    for _ in range(5):
        assert sum_of(branch.stream(record(0.5))) == expected
    assert sum_of([chunk async for chunk in branch.astream(record(0.5))]) == expected


@pytest.mark.parametrize(
    ("arm", "is_merged"),
    [
        (RunnableLambda(lambda _: '{"answer": "x", "source": "page 3"}') | JsonOutputParser(), False),
        (RunnableLambda(lambda r: {"input": "another", "answer": "x", "source": "page 3"}), False),
        (RunnableParallel(answer=lambda _: "x", source=lambda _: ["p. 3"], input=lambda r: r["input"]), False),
        (RunnableParallel(answer=lambda _: "x", source=lambda _: "tool", input=lambda r: r["input"]), True),
        (RunnableLambda(lambda _: {"answer": "x", "source": "tool", "large": LargeAnswer(value="y")}), True),
        (RunnablePassthrough.assign(answer=lambda _: "x", source=lambda _: "tool"), True),
    ],
)
async def test_only_a_record_is_merged_not_every_mapping_with_such_keys(arm, is_merged):
    branch = ConfidenceBranch(large=arm, threshold=0.9, wants="record")
    expected = branch.invoke(record(0.5))
    assert expected["source"] == ("tool" if is_merged else "large")
    if is_merged:
        assert expected["answer"] == "x"
    else:
        assert expected["answer"]["answer"] == "x"
        assert expected["large"].value == expected["answer"]
    assert sum_of(branch.stream(record(0.5))) == expected
    assert sum_of([chunk async for chunk in branch.astream(record(0.5))]) == expected


@pytest.mark.parametrize("told", [{"total_cost": 0}, {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}])
def test_answers_out_of_a_cache_are_counted_as_they_tell(told):
    from langchain_core.outputs import ChatGeneration, LLMResult

    from dsplus_chains.running.usage import UsageCollector

    collector = UsageCollector()
    message = AIMessage("a")
    message.usage_metadata = {**told, "total_cost": 0}
    collector.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]))
    assert collector.usage["total_tokens"] == told.get("total_tokens", 0)
    assert LargeAnswer(value="a", usage=collector.usage).usage == collector.usage


def test_tokens_that_are_not_told_are_not_known():
    arm = ChatPromptTemplate.from_template("{text}") | FakeListChatModel(responses=["a"]) | StrOutputParser()
    assert ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5, text="x"))["large"].usage is None


def test_the_text_of_a_message_becomes_a_plain_string():
    arm = FakeListChatModel(responses=["positive"]) | StrOutputParser()
    prompt = ChatPromptTemplate.from_template("{review}")
    branch = ConfidenceBranch(large=prompt | arm, threshold=0.9)
    result = branch.invoke(record(0.5))
    assert type(result["answer"]) is type(result["large"].value) is str
    assert type(list(branch.stream(record(0.5)))[1]["answer"]) is str


def test_a_prompt_finds_the_callers_keys():
    prompt = ChatPromptTemplate.from_template("{review} from {shop}")
    arm = prompt | RunnableLambda(lambda p: p.messages[0].content)
    result = ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5, review="meh", shop="x"))
    assert result["answer"] == "meh from x"


def test_a_prompt_that_cannot_be_filled_is_a_wiring_error_not_a_fallback():
    arm = ChatPromptTemplate.from_template("{review} from {shop}") | StrOutputParser()
    with pytest.raises(InvalidInputError, match=r"wants \['review', 'shop'\]"):
        ConfidenceBranch(large=arm, threshold=0.9).invoke(record(0.5))


# --- streaming -------------------------------------------------------------------------------------------------------


def sum_of(chunks):
    chunks = list(chunks)
    summed = chunks[0]
    for chunk in chunks[1:]:
        summed = summed + chunk
    return summed


def tokens(*pieces, fail_at=None):
    def generate(chunks):
        for _ in chunks:
            pass
        for number, piece in enumerate(pieces):
            if number == fail_at:
                raise ConnectionError("cut off")
            yield piece

    async def agenerate(chunks):
        async for _ in chunks:
            pass
        for number, piece in enumerate(pieces):
            if number == fail_at:
                raise ConnectionError("cut off")
            yield piece

    from langchain_core.runnables import RunnableGenerator

    return RunnableGenerator(generate, agenerate)


async def test_what_is_known_comes_first_then_the_answer_token_by_token():
    branch = ConfidenceBranch(large=tokens("po", "si", "tive"), threshold=0.9)
    chunks = list(branch.stream(record(0.5)))
    assert [sorted(chunk) for chunk in chunks] == [
        ["input", "prediction"],
        ["answer", "source"],
        ["answer"],
        ["answer"],
        ["large"],
    ]
    assert sum_of(chunks)["answer"] == "positive"
    assert [chunk async for chunk in branch.astream(record(0.5))] == chunks
    chain = RunnablePassthrough() | branch
    assert list(chain.pick("answer").stream(record(0.5))) == ["po", "si", "tive"]
    assert [piece async for piece in chain.pick("answer").astream(record(0.5))] == ["po", "si", "tive"]


def test_the_small_arm_answers_at_once():
    chunks = list(ConfidenceBranch(large=fail, threshold=0.9).stream(record(0.95)))
    assert chunks[1] == {"answer": "negative", "source": "small"}


async def test_a_failure_before_the_first_token_falls_back_and_a_later_one_is_raised():
    before = ConfidenceBranch(large=tokens("po", "si", fail_at=0), threshold=0.9)
    assert sum_of(before.stream(record(0.5)))["source"] == "fallback"
    after = ConfidenceBranch(large=tokens("po", "si", fail_at=1), threshold=0.9)
    with pytest.raises(ConnectionError):
        list(after.stream(record(0.5)))
    with pytest.raises(ConnectionError):
        [chunk async for chunk in after.astream(record(0.5))]


def test_an_arm_that_yields_nothing_falls_back():
    assert sum_of(ConfidenceBranch(large=tokens(), threshold=0.9).stream(record(0.5)))["source"] == "fallback"


# --- configuration, events, usage ------------------------------------------------------------------------------------


async def test_a_configured_threshold_costs_no_batching():
    large = Recording(lambda r: "positive")
    branch = ConfidenceBranch(large=large, threshold=0.9).configurable_fields(threshold=ConfigurableField(id="eps"))
    records = [record(0.8), record(0.95), record(0.3)]
    assert [r["source"] for r in branch.batch(records)] == ["large", "small", "large"]
    config = {"configurable": {"eps": 0.5}}
    assert [r["source"] for r in branch.batch(records, config)] == ["small", "small", "large"]
    assert [r["source"] for r in await branch.abatch(records, config)] == ["small", "small", "large"]
    assert large.sizes == [2, 1, 1]
    configs = [{"configurable": {"eps": eps}} for eps in (0.1, None, 0.1)]
    assert [r["source"] for r in branch.batch(records, configs)] == ["small", "large", "small"]
    assert [spec.id for spec in (RunnablePassthrough() | branch).config_specs] == ["eps"]
    with pytest.raises(ValueError, match="Got threshold=7"):
        branch.invoke(records[0], {"configurable": {"eps": 7}})


async def test_the_decision_goes_out_as_an_event_an_input():
    branch = ConfidenceBranch(large=Recording(fail), threshold={"negative": 0.9})
    for confidence, source in ((0.95, "small"), (0.5, "fallback")):
        events = [
            event
            async for event in branch.astream_events(record(confidence), version="v2")
            if event["event"] == "on_custom_event"
        ]
        (event,) = events
        assert event["name"] == "dsplus_decision"
        assert event["data"] == {"source": source, "confidence": confidence, "threshold": 0.9, "label": "negative"}


def test_tokens_are_counted_a_row_though_the_parser_drops_them():
    def answer(prompt):
        n = len(prompt.messages[0].content)
        return AIMessage("positive", usage_metadata={"input_tokens": n, "output_tokens": 1, "total_tokens": n + 1})

    from langchain_core.language_models import GenericFakeChatModel

    class Counting(GenericFakeChatModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            from langchain_core.outputs import ChatGeneration, ChatResult
            from langchain_core.prompt_values import ChatPromptValue

            return ChatResult(generations=[ChatGeneration(message=answer(ChatPromptValue(messages=messages)))])

    prompt = ChatPromptTemplate.from_template("{text}")
    arm = prompt | Counting(messages=iter([])) | StrOutputParser()
    records = [record(0.5, text="x" * n) for n in (3, 5)]
    results = ConfidenceBranch(large=arm, threshold=0.9).batch(records)
    assert [r["large"].usage["input_tokens"] for r in results] == [3, 5]
    assert all(r["large"].usage["output_tokens"] == 1 for r in results)


@pytest.mark.parametrize("threshold", [0.9, None, {0: 0.5, 1: 0.6}])
def test_a_branch_of_serialisable_parts_can_be_dumped_and_loaded(threshold):
    builder = HintPromptBuilder(labels=[0, 1], instruction="?", descriptions={1: "one"})
    branch = ConfidenceBranch(large=builder | LabelParser(labels=[0, 1]), threshold=threshold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = loads(
            dumps(branch),
            allowed_objects=[ConfidenceBranch, HintPromptBuilder, LabelParser, type(branch.large)],
            valid_namespaces=["dsplus_chains"],
        )
    assert loaded == branch


def test_the_graph_shows_both_arms():
    arm = ChatPromptTemplate.from_template("{text}") | FakeListChatModel(responses=["a"])
    drawn = ConfidenceBranch(large=arm, threshold=0.9).get_graph().draw_mermaid()
    assert "FakeListChatModel" in drawn
    assert "small" in drawn


def test_extra_arguments_reach_the_large_arm():
    class Keen(Recording):
        def batch(self, inputs, config=None, **kwargs):
            self.kwargs = kwargs
            return ["positive"] * len(inputs)

    large = Keen(fail)
    ConfidenceBranch(large=large, threshold=0.9).bind(stop=["\n"]).batch([record(0.5)])
    assert large.kwargs["stop"] == ["\n"]


def test_many_inputs_are_asked_about_at_once():
    gauge, full = Gauge(), asyncio.Event()

    async def slow(_):
        with gauge:
            if gauge.now >= 100:
                full.set()
            await asyncio.wait_for(full.wait(), 60)
            await asyncio.sleep(0.01)  # one more would be seen
        return "positive"

    branch = ConfidenceBranch(large=RunnableLambda(fail, afunc=slow), threshold=None)
    records = [record_of(f"text {i}") for i in range(1000)]
    results = asyncio.run(branch.abatch(records, {"max_concurrency": 100}))
    assert all(r["source"] == "large" for r in results)
    assert gauge.most == 100


@pytest.mark.parametrize(
    "told", [{"logprobs": {"content": [{"token": "a", "logprob": -0.5}]}}, {}], ids=["told", "not"]
)
def test_the_large_models_own_confidence_is_kept_where_its_provider_tells(told):
    class Telling(FakeListChatModel):
        def _generate(self, messages, *args, **kwargs):
            result = super()._generate(messages, *args, **kwargs)
            result.generations[0].message.response_metadata.update(told)
            return result

        def _stream(self, messages, *args, **kwargs):
            yield ChatGenerationChunk(message=AIMessageChunk("positive", response_metadata=told))

    prompt = HintPromptBuilder(labels=["positive", "negative"], instruction="?", hints="none")
    arm = prompt | Telling(responses=["positive"]) | LabelParser(labels=["positive", "negative"])
    branch = ConfidenceBranch(large=arm, threshold=None)
    expected = pytest.approx(math.exp(-0.5)) if told else None
    assert branch.invoke(record_of("good?"))["large"].confidence == expected
    assert reduce(operator.add, branch.stream(record_of("good?")))["large"].confidence == expected
