"""The whole chain over a real wire: real small model, real server, real weights, and a real crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from dsplus_chains import ConfidenceBranch, SmallModelScorer, data_shunt

pytestmark = [pytest.mark.wire, pytest.mark.local]

TEXTS = ["great phone", "I love it", "works like a charm", "broke at once", "waste of money", "awful sound"]
LABELS = ["positive"] * 3 + ["negative"] * 3
INPUTS = [f"{text}, number {number}" for number, text in enumerate((TEXTS * 6)[:32])]
ANSWERED = {"large", "fallback"}  # a model this small does not always answer with a label
TIMEOUT = 1200.0
"""Seconds for an answer. It takes a few, and more on a machine that is busy with others."""


@pytest.fixture(scope="module")
def scorer() -> SmallModelScorer:
    return SmallModelScorer.fit(TEXTS, LABELS, device="cpu")


def chat(server: Any, **settings: Any) -> ChatOpenAI:
    given = {"max_tokens": 4, "temperature": 0, "timeout": TIMEOUT, "max_retries": 0, **settings}
    return ChatOpenAI(model=server.model, base_url=server.base_url, api_key="none", **given)


def shunt(scorer: SmallModelScorer, server: Any, threshold: float | None, **settings: Any) -> Any:
    instruction = "Is this review positive or negative?"
    return data_shunt(scorer, chat(server), instruction=instruction, threshold=threshold, **settings)


def test_invoke_and_batch_share_the_work_and_count_tokens(scorer: SmallModelScorer, openai_server: Any) -> None:
    confidences = sorted(record["prediction"].confidence for record in scorer.batch(INPUTS[:8]))
    chain = shunt(scorer, openai_server, confidences[4], retries=0)
    records = chain.batch(INPUTS[:8], {"max_concurrency": 4})

    assert [record["input"] for record in records] == INPUTS[:8]
    assert sum(record["source"] == "small" for record in records) == 4
    deferred = [record for record in records if record["source"] != "small"]
    assert {record["source"] for record in deferred} <= ANSWERED
    assert all(record["large"].usage["input_tokens"] > 50 for record in deferred)
    assert all(1 <= record["large"].usage["output_tokens"] <= 4 for record in deferred)
    again = chain.invoke(deferred[0]["input"])
    assert (again["answer"], again["source"]) == (deferred[0]["answer"], deferred[0]["source"])


async def test_32_at_once(scorer: SmallModelScorer, openai_server: Any) -> None:
    records = await shunt(scorer, openai_server, None).abatch(INPUTS, {"max_concurrency": 32})

    assert [record["input"] for record in records] == INPUTS
    assert {record["source"] for record in records} <= ANSWERED
    assert all(record["answer"] in {"positive", "negative"} for record in records)
    assert all(record["large"].usage["total_tokens"] > 0 for record in records)
    assert not any("ConnectionError" in record.get("error", "") for record in records)


async def test_tokens_stream_through_pick(scorer: SmallModelScorer, openai_server: Any) -> None:
    arm = ChatPromptTemplate.from_template("Say thanks for this review: {review}") | chat(
        openai_server, max_tokens=12, stream_usage=True
    )
    chain = scorer | ConfidenceBranch(large=arm | StrOutputParser(), threshold=None)
    chunks = [chunk async for chunk in chain.astream("great phone")]
    pieces = [piece async for piece in chain.pick("answer").astream("great phone")]

    assert len([piece for piece in pieces if piece]) >= 3
    assert list(chunks[0]) == ["input", "prediction"]
    assert next(chunk for chunk in chunks if "source" in chunk)["source"] == "large"
    assert chunks[-1]["large"].value == "".join(pieces)
    assert chunks[-1]["large"].usage["output_tokens"] == 12


class FirstAnswer(AsyncCallbackHandler):
    """Tells when the first answer has come."""

    def __init__(self) -> None:
        self.here = asyncio.Event()

    async def on_llm_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.here.set()


async def test_no_input_is_lost_when_the_server_dies_in_the_middle(
    scorer: SmallModelScorer, start_openai_server: Callable[[], Any]
) -> None:
    server = start_openai_server()
    confidences = sorted(record["prediction"].confidence for record in scorer.batch(INPUTS))
    chain = shunt(scorer, server, confidences[24])
    first = FirstAnswer()
    batch = asyncio.create_task(chain.abatch(INPUTS, {"max_concurrency": 4, "callbacks": [first]}))
    await asyncio.wait_for(first.here.wait(), TIMEOUT)
    server.kill()
    records = await asyncio.wait_for(batch, TIMEOUT / 2)

    assert [record["input"] for record in records] == INPUTS
    assert all(record["answer"] in {"positive", "negative"} for record in records)
    assert sum(record["source"] == "small" for record in records) == 8
    lost = [record for record in records if "ConnectionError" in record.get("error", "")]
    assert len(lost) >= 16
    assert all(record["source"] == "fallback" for record in lost)
    assert all(record["answer"] == record["prediction"].label for record in lost)
    answered = [record for record in records if record["source"] != "small" and record not in lost]
    assert answered, "the one whose answer came before the crash"
    assert all(record["large"].usage["output_tokens"] >= 1 for record in answered)
