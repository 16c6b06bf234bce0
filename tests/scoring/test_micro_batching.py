"""A scorer whose calls share model calls says what it says without."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import TinyEncoder
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda

from dsplus_chains import Prediction, RunnableScorer, SmallModelScorer, data_shunt, shunt
from dsplus_chains.scoring import BaseScorer

TEXTS = [f"{word} thing {number}" for number in range(20) for word in ("good", "bad")]
LABELS = ["good", "bad"] * 20


class Small(BaseScorer):
    """A small model that takes its time for a call, and counts them. It fails at a text that says so."""

    calls: list
    labels: tuple = ("good", "bad")

    def _predict(self, texts):
        self.calls.append(len(texts))
        time.sleep(0.02)
        if any("poison" in text for text in texts):
            raise RuntimeError("poison")
        return [Prediction(label=text.split()[0], confidence=0.9) for text in texts]


def answered(record):
    return record["prediction"].label


async def test_requests_that_come_together_share_model_calls():
    alone, shared = Small(calls=[]), Small(calls=[]).micro_batching(16)
    expected = [await alone.ainvoke(text) for text in TEXTS]
    assert await asyncio.gather(*map(shared.ainvoke, TEXTS)) == expected
    assert alone.calls == [1] * 40
    assert len(shared.calls) <= 5
    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(shared.invoke, TEXTS)) == expected
    assert len(shared.calls) <= 20
    assert shared.batch(TEXTS) == expected
    assert shared.calls[-1] == 40, "a batch is one model call"


@pytest.mark.parametrize("around", ["data_shunt", "shunt"])
async def test_a_chain_shares_calls_too(around):
    small = Small(calls=[]).micro_batching()
    app = RunnableLambda(lambda _: "bad")
    settings = {"threshold": 0.5, "labels": ["good", "bad"]}
    if around == "shunt":
        chain = shunt(app, small, output=str, **settings)
    else:
        chain = data_shunt(small, app, instruction="Which?", **settings).pick("answer")
    assert await asyncio.gather(*map(chain.ainvoke, TEXTS)) == LABELS
    assert len(small.calls) <= 4


@pytest.mark.parametrize("on_error", ["raise", "defer"])
async def test_a_text_that_the_model_fails_at_costs_no_other_request_its_answer(on_error):
    small = Small(calls=[], on_error=on_error).micro_batching()
    told = await asyncio.gather(*map(small.ainvoke, [*TEXTS, "poison"]), return_exceptions=True)
    assert list(map(answered, told[:-1])) == LABELS
    if on_error == "raise":
        assert str(told[-1]) == "poison"
    else:
        assert told[-1]["prediction"].label is None
        assert told[-1]["small_error"] == "RuntimeError: poison"


async def test_the_small_model_that_you_own_says_the_same():
    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder())
    shared = scorer.micro_batching()
    assert (shared.labels, shared.model_hash) == (scorer.labels, scorer.model_hash)
    scorer.encoder.calls.clear()
    told = await asyncio.gather(*map(shared.ainvoke, TEXTS))
    assert len(scorer.encoder.calls) < 20
    for record, alone in zip(told, scorer.batch(TEXTS), strict=True):
        assert answered(record) == answered(alone)
        assert record["prediction"].confidence == pytest.approx(alone["prediction"].confidence, abs=1e-5)


def test_it_is_copied_pickled_and_dumped():
    shared = Small(calls=[]).micro_batching(8)
    assert shared.invoke("good")["prediction"].label == "good"
    assert pickle.loads(pickle.dumps(shared)).invoke("bad")["prediction"].label == "bad"
    assert shared.deferring().micro_batch == 8
    assert shared.deferring().invoke("bad")["prediction"].label == "bad"
    assert json.loads(dumps(shared))["kwargs"]["micro_batch"] == 8


def test_the_calls_of_a_changed_copy_are_its_own():
    small = Small(calls=[]).micro_batching()
    small.invoke("good")
    other = small.model_copy(update={"calls": []})
    other.invoke("bad")
    assert (small.calls, other.calls) == ([1], [1])


@pytest.mark.parametrize("size", [0, 1, "many"])
def test_a_size_that_shares_nothing_is_refused(size):
    with pytest.raises(ValueError, match="micro_batch"):
        Small(calls=[]).micro_batching(size)


def test_a_scorer_that_asks_another_runnable_says_why_it_cannot():
    with pytest.raises(ValueError, match="RunnableScorer, which asks another Runnable"):
        RunnableScorer(run=len, micro_batch=8)
    with pytest.raises(ValueError, match="RunnableScorer, which asks another Runnable"):
        RunnableScorer(run=len).micro_batching()
