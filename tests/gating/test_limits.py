"""A branch whose large arm is slow, down, or broken by a bug; a small model that fails."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fakes import Recording, TinyEncoder
from fault_server import fault_server
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableGenerator, RunnableLambda, RunnablePassthrough
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from dsplus_chains import (
    ConfidenceBranch,
    HintPromptBuilder,
    Prediction,
    RunnableScorer,
    SmallModelScorer,
    data_shunt,
)
from dsplus_chains.running.breaker import CircuitBreaker

LABELS = ["positive", "negative"]


def unsure(text):
    if "poison" in text:
        raise RuntimeError("the small model choked")
    return Prediction(label="positive", confidence=0.5)


def shunt(large, small=unsure, **settings):
    return data_shunt(small, large, labels=LABELS, instruction="Which?", threshold=0.9, **settings)


def record(text="x"):
    return {"input": text, "prediction": unsure(text)}


async def results(chain, inputs):
    """What `batch` and `abatch` give; they have to agree."""
    called = chain.batch(inputs, return_exceptions=True)
    awaited = await chain.abatch(inputs, return_exceptions=True)
    assert [repr(one) for one in called] == [repr(one) for one in awaited]
    return called


async def test_a_bug_in_the_callers_arm_is_raised_and_an_outage_is_not():
    def arm(given):
        return given["no such key"] if "bug" in given["input"] else 1 / 0

    outputs = await results(
        ConfidenceBranch(large=arm, threshold=0.9, wants="record"), [record("bug"), record("outage")]
    )
    assert isinstance(outputs[0], KeyError)
    assert outputs[1]["source"] == "fallback"
    outputs = await results(
        ConfidenceBranch(large=arm, threshold=0.9, wants="record", on_arm_bug="small"), [record("bug")]
    )
    assert outputs[0]["error"].startswith("KeyError: ")


async def test_a_bug_before_the_first_chunk_of_a_stream_is_raised():
    def buggy(chunks):
        yield next(chunks)["nowhere"]

    branch = ConfidenceBranch(large=RunnableGenerator(buggy), threshold=0.9, wants="record")
    with pytest.raises(KeyError):
        list(branch.stream(record()))


@pytest.fixture
def never():
    """What happens only once the test is over. Then threads that wait for it end."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_slow_arm_is_given_up_in_a_batch_and_in_a_stream(never):
    async def asleep(given):
        await asyncio.Event().wait()

    branch = ConfidenceBranch(
        large=RunnableLambda(lambda given: never.wait(600), afunc=asleep), threshold=0.9, timeout=0.1
    )
    (output,) = await results(branch, [record()])
    assert (output["answer"], output["source"]) == ("positive", "fallback")
    assert output["error"] == "TimeoutError: no answer in 0.1 s"
    called = {key: value for chunk in branch.stream(record()) for key, value in chunk.items()}
    awaited = {key: value async for chunk in branch.astream(record()) for key, value in chunk.items()}
    assert called["error"] == awaited["error"] == "TimeoutError: no answer in 0.1 s"


async def test_a_stream_that_stops_half_way_is_an_error(never):
    def halting(chunks):
        next(chunks)
        yield "pos"
        never.wait(600)
        yield "itive"

    branch = ConfidenceBranch(large=RunnableGenerator(halting), threshold=0.9, timeout=0.1)
    with pytest.raises(TimeoutError, match=r"no answer in 0\.1 s"):
        list(branch.stream(record()))


async def test_a_breaker_is_shared_by_the_runs_of_a_chain_and_streams_heed_it():
    asked = []

    def down(prompt):
        asked.append(prompt)
        raise ConnectionError("down")

    chain = shunt(RunnableLambda(down), breaker=CircuitBreaker(failures=2))
    assert {one["source"] for one in chain.batch(["a", "b", "c"])} == {"fallback"}
    n = len(asked)
    (output,) = chain.batch(["d"])
    assert output["error"].startswith("CircuitOpenError: not asked, since")
    errors = [chunk["error"] for chunk in chain.stream("e") if "error" in chunk]
    assert errors[0].startswith("CircuitOpenError")
    assert len(asked) == n


def test_a_fallback_is_logged_once_a_batch(caplog):
    chain = shunt(RunnableLambda(lambda prompt: 1 / 0))
    with caplog.at_level(logging.WARNING, "dsplus_chains"):
        chain.batch(["a", "b", "c"])
    said = [entry.getMessage() for entry in caplog.records if entry.name == "dsplus_chains"]
    assert said == ["The small model answered for the large one in 3 of 3 rows: ZeroDivisionError: division by zero"]


async def test_a_text_that_the_small_model_fails_at_goes_to_the_large_one():
    outputs = await results(shunt(lambda prompt: "negative"), ["fine", "poison", " "])
    assert [output["source"] for output in outputs] == ["large"] * 3
    assert [output["answer"] for output in outputs] == ["negative"] * 3
    assert [output.get("small_error", "").partition(":")[0] for output in outputs] == [
        "",
        "RuntimeError",
        "UnreadableTextError",
    ]
    assert outputs[1]["prediction"].label is None


async def test_if_both_fail_it_is_an_error_and_says_so_of_both():
    outputs = await results(shunt(lambda prompt: 1 / 0), ["fine", "poison"])
    assert outputs[0]["source"] == "fallback"
    assert isinstance(outputs[1], ZeroDivisionError)
    assert outputs[1].__notes__ == ["The small model had failed before: RuntimeError: the small model choked"]


async def test_the_small_models_error_is_raised_if_wanted():
    outputs = await results(shunt(lambda prompt: "negative", on_small_error="raise"), ["fine", "poison"])
    assert outputs[0]["source"] == "large"
    assert isinstance(outputs[1], RuntimeError)


async def test_a_bug_in_the_callers_small_model_is_raised():
    outputs = await results(shunt(lambda prompt: "negative", small=lambda text: text.no_such_thing), ["x"])
    assert isinstance(outputs[0], AttributeError)


@pytest.mark.parametrize("wrong", [{"label": "a", "confidence": 95}, {"label": 1.5}])
def test_a_prediction_made_wrongly_by_the_callers_small_model_is_raised_however_often(wrong):
    chain = shunt(lambda prompt: "negative", small=lambda text: Prediction(**wrong))
    for _ in range(7):
        with pytest.raises(ValidationError, match=r"validation errors? for Prediction"):
            chain.invoke("x")


async def test_one_text_does_not_cost_the_others_of_its_batch_their_prediction():
    class Choking(TinyEncoder):
        def encode(self, texts):
            if any("poison" in text for text in texts):
                raise RuntimeError("choked")
            return super().encode(texts)

    encoder = Choking()
    scorer = SmallModelScorer.fit(["good", "bad", "so good", "so bad"], [*LABELS, *LABELS], encoder=encoder)
    outputs = await results(shunt(lambda prompt: "negative", small=scorer), ["good", "poison", "bad"])
    assert [output["prediction"].label for output in outputs] == ["positive", None, "negative"]


def test_a_small_model_that_keeps_failing_is_not_asked_for_a_while():
    small = Recording(lambda text: 1 / 0)
    chain = shunt(lambda prompt: "negative", small=small)
    for _ in range(20):
        assert chain.invoke("x")["source"] == "large"
    assert len(small.sizes) == 5
    assert "CircuitOpenError" in chain.invoke("x")["small_error"]


def test_tiers_go_on_where_one_fails():
    sure = RunnableScorer(run=lambda text: Prediction(label="negative", confidence=0.95), labels=LABELS)
    chain = data_shunt(
        [lambda text: 1 / 0, sure], lambda _: "positive", labels=LABELS, instruction="?", threshold=[0.9, 0.9]
    )
    output = chain.invoke("x")
    assert (output["answer"], output["source"]) == ("negative", "small-2")
    assert output["small_error"].startswith("ZeroDivisionError")


LOOPS = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from langchain_openai import ChatOpenAI
from dsplus_chains import Prediction, data_shunt
llm = ChatOpenAI(model="m", base_url=sys.argv[2], api_key="x", max_retries=0)
settings = {"labels": ["positive", "negative"], "instruction": "Which?", "threshold": 0.9, **eval(sys.argv[3])}
chain = data_shunt(lambda text: Prediction(label="positive", confidence=0.5), llm, **settings)
for _ in range(3):
    print(*(record["source"] for record in asyncio.run(chain.abatch(["a", "b"]))))
"""


@pytest.mark.parametrize("limits", ["{}", "{'timeout': 600.0}"])
def test_two_event_loops_one_after_the_other(limits):
    """In a process of its own: connections of a closed loop are left to the garbage collector, which complains."""
    with fault_server() as server:
        arguments = [sys.executable, "-c", LOOPS, str(Path(__file__).parents[1]), server.base_url, limits]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["large"] * 6


async def test_an_asynchronous_batch_bounds_itself():
    with fault_server(mode="delay") as server:
        chain = shunt(ChatOpenAI(model="m", base_url=server.base_url, api_key="x"))
        assert len(await chain.abatch([f"text {n}" for n in range(300)])) == 300
        assert server.most_open <= 100


def test_a_model_that_the_provider_has_replaced_is_told(caplog):
    with fault_server(mode="wrong model") as server, caplog.at_level(logging.WARNING, "dsplus_chains"):
        chain = shunt(ChatOpenAI(model="the-model-asked", base_url=server.base_url, api_key="x"))
        chain.batch(["a", "b"])
    said = [entry.getMessage() for entry in caplog.records if entry.name == "dsplus_chains"]
    assert said == ["The model 'the-model-asked' was asked but 'another-model' has answered"]


def test_a_version_of_the_model_is_the_model(caplog):
    from dsplus_chains.running.usage import _check_model

    with caplog.at_level(logging.WARNING, "dsplus_chains"):
        _check_model("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
        _check_model("/models/qwen2.gguf", "qwen2.gguf")
        _check_model(None, "x")
        _check_model("x", None)
    assert not [entry for entry in caplog.records if entry.name == "dsplus_chains"]


def test_an_answer_in_words_that_are_no_label_is_asked_once_more_also_with_limits():
    replies = iter(["Hard to say.", "negative"])
    chain = shunt(RunnableLambda(lambda prompt: AIMessage(next(replies))), timeout=600)
    assert chain.invoke("x")["answer"] == "negative"


ORIGINALS = [
    ("a text", "hello", "hello"),
    ("a dict", {"ticket": "hello", "id": 7}, {"ticket": "hello", "id": 7}),
]


@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in ORIGINALS], ids=[case[0] for case in ORIGINALS])
def test_an_arm_that_is_no_prompt_gets_the_very_object_that_the_chain_was_called_with(given, expected):
    seen = []
    arm = RunnableLambda(lambda value: seen.append(value) or "positive")
    scorer = RunnableScorer(
        run=lambda _: Prediction(label="negative", confidence=0.5),
        input_key="ticket" if isinstance(given, dict) else "input",
    )
    chain = scorer | RunnablePassthrough.assign(context=lambda _: "more") | ConfidenceBranch(large=arm, threshold=0.9)
    assert chain.invoke(given)["answer"] == "positive"
    assert seen[0] is given
    assert seen == [expected]


def test_an_arm_over_the_record_is_told_how_to_get_it():
    branch = ConfidenceBranch(large=lambda given: given["prediction"].label, threshold=0.9)
    with pytest.raises(TypeError) as raised:
        branch.invoke(record("hm"))
    assert any('wants="record"' in note for note in raised.value.__notes__)
    asking = branch.model_copy(update={"wants": "record"})
    assert asking.invoke(record("hm"))["source"] == "large"


def test_ours_get_the_record_by_themselves_also_behind_assign():
    builder = HintPromptBuilder(labels=["positive", "negative"], instruction="Which?")
    arm = RunnablePassthrough.assign(more=lambda _: "x") | builder | RunnableLambda(lambda prompt: prompt.to_string())
    assert "negative" in ConfidenceBranch(large=arm, threshold=0.9).invoke(record("hm"))["answer"]
