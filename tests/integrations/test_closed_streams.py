"""A stream that is closed early is told as what it was, and teaches no label."""

from __future__ import annotations

import asyncio

import pytest
from clock import PATIENCE
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from dsplus_chains import (
    ConfidenceBranch,
    ExperienceStore,
    Prediction,
    RunnableScorer,
    ShuntChatModel,
    decisions,
    shunt,
)
from dsplus_chains.learning.store_handler import StoreHandler


class Kept:
    """Keeps the records, as a store does."""

    def __init__(self):
        self.records = []

    def record(self, record, /):
        self.records.append(dict(record))


def small(text):
    return Prediction(label="spam", confidence=0.97 if "prize" in text else 0.5)


def pieces(_inputs):
    yield from ["no", " spam", " here"]


async def apieces(_inputs):
    for piece in pieces(_inputs):
        await asyncio.sleep(0)
        yield piece


async def hanging(_inputs):
    yield "no"
    await asyncio.sleep(60)


APP = RunnableGenerator(pieces, apieces)
CHAINS = {
    "branch": lambda app, store: RunnableScorer(run=small) | ConfidenceBranch(
        large=app, threshold=0.9, experience=store
    ),
    "shunt": lambda app, store: shunt(app, small, threshold=0.9, labels=["spam"], output=str, experience=store),
    "shunt with record": lambda app, store: shunt(
        app, small, threshold=0.9, labels=["spam"], output=str, experience=store, with_record=True
    ),
}  # fmt: skip


def taken(chain, text, n, how):
    """Take n chunks of a stream, and leave."""
    stream = chain.stream(text)
    chunks = [next(stream) for _ in range(n)]
    if how == "close":
        stream.close()
    del stream
    return chunks


async def settled(before):
    """Wait for the tasks that were not there before, and for those that they leave behind.

    LangChain's sequences leave the closing of what is inside of them to the event loop.
    """
    rounds = 0
    while rounds < 10:  # a task that is asked for begins in one of the next rounds of the loop
        await asyncio.sleep(0)
        rounds += 1
        if more := asyncio.all_tasks() - before:
            await asyncio.wait(more, timeout=PATIENCE)
            rounds = 0


async def ataken(chain, text, n):
    before = asyncio.all_tasks()
    stream = chain.astream(text)
    chunks = [await anext(stream) for _ in range(n)]
    await stream.aclose()
    del stream
    await settled(before)
    return chunks


async def leave(chain, text, n, how):
    return await ataken(chain, text, n) if how == "aclose" else taken(chain, text, n, how)


@pytest.mark.parametrize("how", ["close", "break", "aclose"])
@pytest.mark.parametrize("name", CHAINS)
async def test_a_stream_that_is_left_is_told_once_and_marked(name, how):
    for n, text in [(1, "hello"), (2, "hello"), (3, "hello")]:
        store, heard = Kept(), Kept()
        chain = CHAINS[name](APP, store).with_config(callbacks=[StoreHandler(heard)])
        with decisions() as seen:
            await leave(chain, text, n, how)
        (event,) = seen
        assert (event["source"], event["unfinished"], event["confidence"]) == ("large", True, 0.5)
        for (record,) in (store.records, heard.records):
            assert (record["source"], record["unfinished"], record["answer_label"]) == ("large", True, None)
            assert "large" not in record
            assert record["prediction"].label == "spam"
            assert (record["answer"] or "") in "no spam here"


@pytest.mark.parametrize("name", CHAINS)
async def test_a_stream_is_told_before_its_close_returns(name):
    store = Kept()
    stream = CHAINS[name](APP, store).astream("hello")
    await anext(stream)
    await stream.aclose()
    assert [record["unfinished"] for record in store.records] == [True]


@pytest.mark.parametrize("how", ["close", "break", "aclose"])
@pytest.mark.parametrize("name", CHAINS)
async def test_what_the_small_model_answered_is_whole(name, how):
    store, heard = Kept(), Kept()
    chain = CHAINS[name](APP, store).with_config(callbacks=[StoreHandler(heard)])
    with decisions() as seen:
        await leave(chain, "a prize", 1, how)
    (event,) = seen
    assert (event["source"], "unfinished" in event) == ("small", False)
    for (record,) in (store.records, heard.records):
        assert (record["answer"], record["source"], "unfinished" in record) == ("spam", "small", False)


@pytest.mark.parametrize("name", CHAINS)
async def test_a_stream_that_is_read_to_its_end_is_told_as_before(name):
    store = Kept()
    chain = CHAINS[name](APP, store)
    with decisions() as seen:
        list(chain.stream("hello"))
        [chunk async for chunk in chain.astream("hello")]
    assert [("unfinished" in event, event["source"]) for event in seen] == [(False, "large")] * 2
    assert [record["answer"] for record in store.records] == ["no spam here"] * 2
    assert all("large" in record and "unfinished" not in record for record in store.records)


@pytest.mark.parametrize("name", CHAINS)
async def test_a_task_that_is_cancelled_in_the_middle_of_a_stream_tells_it_too(name):
    store, started, before = Kept(), asyncio.Event(), asyncio.all_tasks()
    chain = CHAINS[name](RunnableGenerator(pieces, hanging), store)

    async def read():
        async for chunk in chain.astream("hello"):
            if chunk == "no" or "answer" in chunk:
                started.set()

    with decisions() as seen:
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(before)
    assert [(event["source"], event["unfinished"]) for event in seen] == [("large", True)]
    assert [(record["answer"], record["unfinished"]) for record in store.records] == [("no", True)]


def test_a_store_keeps_it_without_an_answer_or_a_label(tmp_path):
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        taken(CHAINS["branch"](APP, store), "hello", 2, "close")
        store.flush()
        (row,) = store.rows()
    assert (row.source, row.answer, row.large, row.prediction.label) == ("large", None, None, "spam")


def test_a_chat_model_tells_it():
    large = GenericFakeChatModel(messages=iter([AIMessage("no spam here")]))
    model = ShuntChatModel(large=large, scorer=small, threshold=0.9, labels=["spam"])
    with decisions() as seen:
        taken(model, "hello", 1, "close")
    assert [(event["source"], event["unfinished"]) for event in seen] == [("large", True)]


def test_a_listener_that_fails_breaks_no_close():
    class Broken(Kept):
        def record(self, record, /):
            raise OSError("full")

    taken(CHAINS["shunt"](APP, Broken()), "hello", 1, "close")
    app = RunnableLambda(lambda text: "no")
    assert CHAINS["shunt"](app, Broken()).invoke("hello") == "no"
