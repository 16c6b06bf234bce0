"""A scorer whose calls share model calls says what it says without."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clock import PATIENCE, auntil, until
from fakes import TinyEncoder
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda

from dsplus_chains import Prediction, RunnableScorer, SmallModelScorer, data_shunt, shunt
from dsplus_chains.running.shared_calls import SharedCalls
from dsplus_chains.scoring import BaseScorer

TEXTS = [f"{word} thing {number}" for number in range(20) for word in ("good", "bad")]
LABELS = ["good", "bad"] * 20


@pytest.fixture
def joined(monkeypatch):
    """The texts of all requests that have come so far."""
    joined, join = [], SharedCalls.join

    def recorded(self, items):
        future = join(self, items)
        joined.extend(items)
        return future

    monkeypatch.setattr(SharedCalls, "join", recorded)
    return joined


class Small(BaseScorer):
    """A small model that counts its calls, and waits for a gate. It fails at a text that says so."""

    calls: list
    labels: tuple = ("good", "bad")
    gate: Any = None

    def _predict(self, texts):
        self.calls.append(len(texts))
        assert self.gate is None or self.gate.wait(PATIENCE)
        if any("poison" in text for text in texts):
            raise RuntimeError("poison")
        return [Prediction(label=text.split()[0], confidence=0.9) for text in texts]


def answered(record):
    return record["prediction"].label


async def answers(run, joined, gate):
    """The answers to requests that have all come before the first call ends."""
    asked = [asyncio.create_task(run.ainvoke(text)) for text in TEXTS]
    await auntil(lambda: len(joined) == len(TEXTS))
    gate.set()
    return await asyncio.gather(*asked)


async def test_requests_that_come_together_share_model_calls(joined):
    gate = threading.Event()
    alone, shared = Small(calls=[]), Small(calls=[], gate=gate).micro_batching(16)
    expected = [await alone.ainvoke(text) for text in TEXTS]
    assert await answers(shared, joined, gate) == expected
    assert alone.calls == [1] * 40
    assert len(shared.calls) <= 4, "one that is under way when the others come, and three for these"
    gate.clear()
    joined.clear()
    with ThreadPoolExecutor(40) as pool:
        asked = pool.map(shared.invoke, TEXTS)
        until(lambda: len(joined) == len(TEXTS))
        gate.set()
        assert list(asked) == expected
    assert len(shared.calls) <= 8
    assert shared.batch(TEXTS) == expected
    assert shared.calls[-1] == 40, "a batch is one model call"


@pytest.mark.parametrize("around", ["data_shunt", "shunt"])
async def test_a_chain_shares_calls_too(around, joined):
    gate = threading.Event()
    small = Small(calls=[], gate=gate).micro_batching()
    app = RunnableLambda(lambda _: "bad")
    settings = {"threshold": 0.5, "labels": ["good", "bad"]}
    if around == "shunt":
        chain = shunt(app, small, output=str, **settings)
    else:
        chain = data_shunt(small, app, instruction="Which?", **settings).pick("answer")
    assert await answers(chain, joined, gate) == LABELS
    assert len(small.calls) <= 3


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


async def test_the_small_model_that_you_own_says_the_same(joined):
    gate = threading.Event()

    class Gated(TinyEncoder):
        def encode(self, texts):
            assert gate.wait(PATIENCE)
            return super().encode(texts)

    gate.set()
    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=Gated())
    shared = scorer.micro_batching()
    assert (shared.labels, shared.model_hash) == (scorer.labels, scorer.model_hash)
    scorer.encoder.calls.clear()
    gate.clear()
    told = await answers(shared, joined, gate)
    assert len(scorer.encoder.calls) <= 3
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
