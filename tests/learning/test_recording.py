"""How decisions reach a recorder: from chains, shunts, callbacks, and apps without a shunt."""

from __future__ import annotations

import asyncio
import gc
import pickle
from enum import Enum
from functools import reduce
from operator import add
from typing import Any, Literal

import pytest
from blockbuster import blockbuster_ctx
from clock import no_garbage
from conftest import LABELS, TEXTS
from fakes import Recording, TinyEncoder, predict
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableGenerator, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tracers.context import collect_runs
from pydantic import BaseModel

from dsplus_chains import (
    AnswerFusion,
    Bundle,
    ConfidenceBranch,
    ExperienceStore,
    SmallModelScorer,
    data_shunt,
    record_answers,
    shunt,
)
from dsplus_chains.running import telling

SENTIMENTS = ["positive", "negative"]
TASK = {"labels": SENTIMENTS, "instruction": "Which sentiment?"}


class Kept:
    """A recorder that keeps what it gets."""

    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)


class Broken:
    """A recorder that fails."""

    def record(self, record):
        raise OSError("no space left on device")


@pytest.fixture
def store():
    with ExperienceStore(":memory:") as made:
        yield made


def large_model(prompt: Any) -> AIMessage:
    return AIMessage("Positive.", usage_metadata={"input_tokens": 9, "output_tokens": 1, "total_tokens": 10})


async def test_a_chain_is_recorded_in_whatever_way_it_is_called(store):
    chain = data_shunt(predict, Recording(large_model), threshold=0.9, **TASK, experience=store)
    plain = data_shunt(predict, Recording(large_model), threshold=0.9, **TASK)
    texts = ["bad", "bad?"]
    expected = plain.batch(texts)
    assert chain.batch(texts) == expected
    assert [chain.invoke(text) for text in texts] == expected
    assert await chain.abatch(texts) == expected
    assert [await chain.ainvoke(text) for text in texts] == expected
    assert [list(chain.stream(text)) for text in texts] == [list(plain.stream(text)) for text in texts]
    assert [[part async for part in chain.astream(text)] for text in texts] == [
        [part async for part in plain.astream(text)] for text in texts
    ]
    rows = list(store.rows())
    assert [(row.text, row.source, row.answer) for row in rows] == [
        ("bad", "small", "negative"),
        ("bad?", "large", "positive"),
    ] * 6
    assert {row.prediction.label for row in rows} == {"negative"}
    assert len({row.task_hash for row in rows}) == 1
    assert rows[0].task_hash is not None


async def test_recording_does_not_block_the_loop(store):
    chain = data_shunt(predict, Recording(large_model), threshold=0.9, **TASK, experience=store)
    await chain.ainvoke("bad?")  # imports that happen on first use read files
    for pause in (0.0, 0.5):  # the store's thread is idle the second time
        await asyncio.sleep(pause)
        with no_garbage(), blockbuster_ctx():  # the end of somebody else's garbage may block
            await chain.ainvoke("bad?")
    assert len(store) == 3


def test_a_chain_with_a_store_can_be_pickled_and_serialised(tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as made:
        chain = data_shunt(predict, Recording(large_model), threshold=0.9, **TASK, experience=made)
        pickle.loads(pickle.dumps(chain)).invoke("bad")
        gc.collect()  # writes what the copy has recorded
        assert [row.source for row in made.rows()] == ["small"]
        assert "ExperienceStore" in dumps(chain.last)


def test_what_is_recorded_is_behind_the_fusion(store):
    views = [predict(text) for text in TEXTS]
    fusion = AnswerFusion.fit(views * 3, LABELS * 3, LABELS * 3)
    chain = data_shunt(predict, Recording(large_model), threshold=0.9, **TASK, fusion=fusion, experience=store)
    record = chain.invoke("bad?")
    (row,) = store.rows()
    assert (row.source, row.answer, row.large) == ("fused", record["answer"], "positive")
    assert row.fused == pytest.approx(dict(record["fused"].probabilities))


def test_tiers_are_recorded_once(store):
    chain = data_shunt({"a": predict, "b": predict}, large_model, threshold=[0.99, 0.9], **TASK, experience=store)
    chain.batch(["bad", "bad?"])
    assert [row.source for row in store.rows()] == ["b", "large"]


def test_each_tier_is_marked_with_its_own_model(store):
    one = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder())
    two = SmallModelScorer.fit(TEXTS[::-1], LABELS[::-1], encoder=TinyEncoder(), seed=3)
    assert one.model_hash != two.model_hash
    for thresholds in ([0.0, 0.0], [None, 0.0], [None, None]):
        task = {"labels": sorted({*LABELS}), "instruction": "Which?"}
        large = RunnableLambda(lambda _: AIMessage(LABELS[0]))
        data_shunt([one, two], large, threshold=thresholds, **task, experience=store).invoke("good phone")
    data_shunt([predict, two], large_model, threshold=[0.0, 0.0], **task, experience=store).invoke("good phone")
    rows = list(store.rows())
    assert [row.source for row in rows] == ["small", "small-2", "large", "small"]
    assert [row.model_hash for row in rows] == [one.model_hash, two.model_hash, two.model_hash, None]
    assert len({row.task_hash for row in rows}) == 1


def test_a_bundle_marks_its_model_and_its_task(store, tmp_path):
    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder())
    bundle = Bundle(scorer=scorer, instruction="Which sentiment?")
    assert scorer.model_hash is not None
    bundle.chain(large_model, threshold=0.9, experience=store).invoke("good phone")
    bundle.chain(large_model, threshold=0.9, instruction="Another?", experience=store).invoke("good phone")
    shunt(lambda text: "good", scorer, threshold=0.0, output=str, experience=store).invoke("good phone")
    one, two, three = store.rows()
    assert one.model_hash == two.model_hash == three.model_hash == scorer.model_hash
    assert one.task_hash != two.task_hash
    other = SmallModelScorer.fit(TEXTS[::-1], LABELS[::-1], encoder=TinyEncoder(), seed=3)
    assert other.model_hash != scorer.model_hash


def test_the_hash_of_a_model_is_that_of_its_file(tmp_path):
    from hashlib import sha256

    scorer = SmallModelScorer.fit(TEXTS, LABELS, encoder=TinyEncoder())
    scorer.save(tmp_path)
    assert sha256((tmp_path / "scorer.json").read_bytes()).hexdigest() == scorer.model_hash
    assert SmallModelScorer.load(tmp_path, encoder=TinyEncoder()).model_hash == scorer.model_hash


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_recorder_that_fails_costs_no_answer_and_is_told_once(way, caplog, monkeypatch):
    monkeypatch.setattr(telling, "_told", set())
    broken = Broken()
    chain = data_shunt(predict, large_model, threshold=0.9, **TASK, experience=broken)
    app = shunt(lambda text: "positive", predict, threshold=0.9, labels=SENTIMENTS, output=str, experience=broken)
    for run, expected in ((chain.pick("answer"), "negative"), (app, "negative")):
        for _ in range(2):
            assert (run.invoke("bad") if way == "invoke" else "".join(run.stream("bad"))) == expected
    assert caplog.text.count("could not be recorded") == 1


class Meddler:
    """A recorder that changes what it gets."""

    def record(self, record):
        record.clear()


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_recorder_changes_no_answer(way):
    chain = data_shunt(predict, large_model, threshold=0.9, **TASK, experience=Meddler())
    app = shunt(lambda text: "positive", predict, threshold=0.9, labels=SENTIMENTS, output=str, experience=Meddler())
    for run in (chain.pick("answer"), app):
        assert (run.invoke("bad") if way == "invoke" else "".join(run.stream("bad"))) == "negative"


def test_what_is_no_recorder_is_refused():
    with pytest.raises(ValueError, match="record\\(\\)"):
        data_shunt(predict, large_model, threshold=0.9, **TASK, experience="store.sqlite")
    with pytest.raises(ValueError, match="record\\(\\)"):
        shunt(lambda text: "a", predict, threshold=0.9, labels=SENTIMENTS, output=str, experience=7)


def test_a_recorded_stream_goes_on_as_it_comes():
    kept, seen = Kept(), []

    def pieces(chunks):
        for _ in chunks:
            for word in ("so ", "be ", "it"):
                seen.append((word, len(kept.records)))
                yield word

    chain = ConfidenceBranch(large=RunnableGenerator(pieces), threshold=None, experience=kept)
    seen.extend(chunk.get("answer") for chunk in chain.stream({"input": "x", "prediction": predict("so?")}))
    assert [one for one in seen if one is not None] == [("so ", 0), "so ", ("be ", 0), "be ", ("it", 0), "it"]
    assert [record["answer"] for record in kept.records] == ["so be it"]


async def test_a_shunt_around_an_app_records_whether_or_not_anybody_listens():
    kept = Kept()
    app = shunt(lambda text: "Positive!", predict, threshold=0.9, labels=SENTIMENTS, output=str, experience=kept)
    app.batch(["bad", "so so?"])
    await app.ainvoke("bad")
    list(app.stream("so so?"))
    assert [(record["input"], record["source"], record["answer_label"]) for record in kept.records] == [
        ("bad", "small", "negative"),
        ("so so?", "large", "positive"),
        ("bad", "small", "negative"),
        ("so so?", "large", "positive"),
    ]


def test_a_shadow_records_what_both_said(store):
    app = shunt(lambda text: "positive", predict, shadow=True, labels=SENTIMENTS, output=str, experience=store)
    assert app.invoke("bad") == "positive"
    (row,) = store.rows()
    assert (row.prediction.label, row.large, row.answer, row.source) == ("negative", "positive", "positive", "large")


def test_a_handler_records_any_chain_once(store):
    chain = data_shunt(predict, large_model, threshold=0.9, **TASK)
    app = shunt(lambda text: "positive", predict, threshold=0.9, labels=SENTIMENTS, output=str)
    recorded = shunt(lambda text: "positive", predict, threshold=0.9, labels=SENTIMENTS, output=str, with_record=True)
    inside = RunnableLambda(lambda text: text.lower()) | app
    config = {"callbacks": [store.handler()]}
    for run in (chain, app, recorded, inside):
        run.invoke("bad", config)
    list(chain.stream("so?", config))
    RunnableLambda(lambda text: {"answer": "42", "source": "page 3"}).invoke("no record", config)
    assert [(row.text, row.source, row.answer) for row in store.rows()] == [
        *[("bad", "small", "negative")] * 4,
        ("so?", "large", "positive"),
    ]


def test_a_handler_records_a_decision_in_a_chain_whatever_is_made_of_it(store):
    chain = data_shunt(predict, lambda _: "positive", labels=SENTIMENTS, threshold=0.9, instruction="q")
    for app in (chain.pick("answer"), {"said": chain} | RunnableLambda(lambda both: both["said"]["answer"])):
        handler = store.handler()
        app.batch(["bad", "so?"], {"callbacks": [handler]})
        with pytest.raises(ZeroDivisionError):
            (app | (lambda _: 1 / 0)).invoke("bad", {"callbacks": [handler]})
        assert handler._heard == {}
    assert sorted((row.text, row.source) for row in store.rows()) == [("bad", "small")] * 4 + [("so?", "large")] * 2


def test_a_handler_records_a_decision_once_however_often_it_is_handed_on(store):
    chain = data_shunt(predict, lambda _: "positive", labels=SENTIMENTS, threshold=0.9, instruction="q")
    more = RunnablePassthrough.assign(n=lambda _: 1)
    (chain | more | more | RunnablePassthrough() | (lambda record: record["answer"])).invoke(
        "bad", {"callbacks": [store.handler()]}
    )
    assert [row.text for row in store.rows()] == ["bad"]


def test_a_handler_keeps_each_decision_of_a_long_run_when_the_next_one_comes(store):
    chain = data_shunt(predict, lambda _: "positive", labels=SENTIMENTS, threshold=0.9, instruction="q")
    kept = []

    def agent(texts, config):
        for text in texts:
            chain.invoke(text, config)
            kept.append(len(store))
        return RunnableParallel(a=chain, b=chain).invoke("bad", config)["a"]

    RunnableLambda(agent).invoke(["bad", "so?", "bad"], {"callbacks": [store.handler()]})
    assert kept == [0, 1, 2]
    assert [row.text for row in store.rows()] == ["bad", "so?", "bad", "bad", "bad"]


def test_inputs_whose_text_nobody_can_tell_are_told(store, caplog):
    app = record_answers(lambda ticket: "billing", store)
    assert app.batch([{"title": "a", "body": "b"}] * 2) == ["billing"] * 2
    assert caplog.text.count("cannot tell which one is meant") == 1


def test_turns_of_a_chat_model_are_read_as_by_a_shunt(store):
    record_answers(FakeListChatModel(responses=["positive"]), store).invoke(["hi", "it broke"])
    assert [row.text for row in store.rows()] == ["it broke"]


def test_a_handler_records_the_output_of_a_shunt_inside_of_a_chain_once(store):
    recorded = shunt(lambda text: "positive", predict, threshold=0.9, labels=SENTIMENTS, output=str, with_record=True)
    handler = store.handler()
    chain = RunnableLambda(lambda text: text.lower()) | (recorded | RunnablePassthrough.assign(more=lambda _: 1))
    chain.invoke("Bad", {"callbacks": [handler]})
    list(chain.stream("bad?", {"callbacks": [handler]}))
    with pytest.raises(ZeroDivisionError):
        (recorded | (lambda _: 1 / 0)).invoke("bad", {"callbacks": [handler]})
    assert [(row.text, row.source) for row in store.rows()] == [("bad", "small"), ("bad?", "large"), ("bad", "small")]
    assert handler._heard == {}


def test_the_label_of_an_earlier_answer_is_not_recorded(store):
    fusion = AnswerFusion.fit([predict(text) for text in TEXTS] * 3, LABELS * 3, LABELS * 3)
    old = {"input": "bad?", "prediction": predict("bad?"), "answer": {"kind": 1}, "answer_label": "old"}
    branch = ConfidenceBranch(large=lambda record: "positive", threshold=0.9)
    for chain in (branch.model_copy(update={"experience": store}), branch | fusion):
        for record in (chain.invoke(old), reduce(add, chain.stream(old))):
            assert "answer_label" not in record
    fused = fusion.invoke({**branch.invoke(old), "answer_label": "old"})
    assert "answer_label" not in fused
    assert [row.answer for row in store.rows()] == ["positive"] * 2


class Tone(Enum):
    GOOD = "positive"
    BAD = "negative"


class Opinion(BaseModel):
    tone: Literal["positive", "negative"]
    note: str = ""


def as_opinion(text: str) -> Opinion:
    return Opinion(tone="negative")


def as_tone(text: str) -> Tone:
    return Tone.BAD


def as_dict(text: str) -> dict[str, str]:
    return {"verdict": "negative", "why": "it broke"}


def as_text(text: str) -> str:
    return "negative"


@pytest.mark.parametrize(
    ("app", "options"),
    [
        (as_text, {}),
        (as_text, {"labels": SENTIMENTS}),
        (as_opinion, {}),
        (as_opinion, {"read": "tone"}),
        (as_opinion, {"labels": SENTIMENTS}),
        (as_tone, {}),
        (as_dict, {"read": "verdict"}),
        (as_dict, {"read": lambda output: output["verdict"]}),
        (FakeListChatModel(responses=["negative"]), {}),
        (FakeListChatModel(responses=["Negative."]), {"labels": SENTIMENTS}),
    ],
)
async def test_an_app_without_a_small_model_is_recorded_and_not_changed(store, app, options):
    recorded = record_answers(app, store, **options)
    given = "it broke"
    output = recorded.invoke(given)
    plain = RunnableLambda(app).invoke(given) if callable(app) else app.invoke(given)
    assert type(output) is type(plain)
    if not isinstance(output, AIMessage):
        assert output == plain == await recorded.ainvoke(given) == recorded.batch([given])[0]
    rows = list(store.rows())
    assert {(row.text, row.large, row.answer, row.source, row.prediction) for row in rows} == {
        (given, "negative", "negative", "large", None)
    }


def test_an_app_gets_the_very_object_and_its_stream_goes_on(store):
    seen = []

    def pieces(chunks):
        for chunk in chunks:
            seen.append(chunk)
            yield from ("neg", "ative")

    value = {"messages": [HumanMessage("it broke")], "id": 7}
    assert list(record_answers(RunnableGenerator(pieces), store).stream(value)) == ["neg", "ative"]
    assert seen[0] is value
    (row,) = store.rows()
    assert (row.text, row.large) == ("it broke", "negative")


def test_what_cannot_be_read_costs_no_answer(store, caplog):
    def failing(output):
        raise KeyError("label")

    app = record_answers(lambda value: 3.5, store, read=failing)
    assert app.invoke({"a": 1, "b": 2}) == 3.5
    (row,) = store.rows()
    assert (row.text, row.large, row.answer) == (None, None, None)
    with pytest.raises(ZeroDivisionError):
        record_answers(lambda text: 1 / 0, store).invoke("x")
    assert len(store) == 1
    broken = record_answers(FakeListChatModel(responses=["negative"]) | StrOutputParser(), Broken())
    assert broken.invoke("x") == "negative"


def test_tokens_are_counted_and_runs_are_traced(store):
    app = RunnableLambda(lambda text: text) | FakeListChatModel(responses=["negative"]) | StrOutputParser()
    with collect_runs() as traced:
        record_answers(app, store).invoke("x")
    assert [run.name for run in traced.traced_runs] == ["record_answers"]
