"""Chat models, agents and nodes of graphs record their decisions, as shunts do, and no store breaks them."""

from __future__ import annotations

import pytest
from fakes import TinyEncoder
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from dsplus_chains import (
    ExperienceStore,
    Prediction,
    ShuntChatModel,
    SmallModelScorer,
    decisions,
    record_answers,
    shunt_node,
)
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.schema import ShuntRecord


class Kept:
    """Keeps the records, as a store does. It may be full."""

    def __init__(self, *, full=False):
        self.records, self.full = [], full

    def record(self, record, /):
        if self.full:
            raise OSError("disk is full")
        self.records.append(dict(record))


def small(text):
    return Prediction(label="refund", confidence=0.97 if "money" in text else 0.4)


def model():
    return FakeListChatModel(responses=["shipping"])


LABELS = ["refund", "shipping"]


def chat(scorer, store):
    made = ShuntChatModel(large=model(), scorer=scorer, threshold=0.9, labels=LABELS, experience=store)
    return lambda text: made.invoke(text).text


def node(scorer, store):
    made = shunt_node(
        scorer, threshold=0.9, large=lambda state: "shipping", labels=LABELS, output=str, experience=store
    )
    return lambda text: made.invoke({"question": text})["answer"]


def node_alone(scorer, store):
    made = shunt_node(scorer, threshold=0.9, labels=LABELS, experience=store)
    return lambda text: made.invoke({"question": text})["answer"]


def agent(scorer, store):
    agents = pytest.importorskip("langchain.agents")
    from dsplus_chains import ShuntMiddleware

    made = agents.create_agent(
        model(), middleware=[ShuntMiddleware(scorer, threshold=0.9, labels=LABELS, experience=store)]
    )
    return lambda text: made.invoke({"messages": [HumanMessage(text)]})["messages"][-1].text


PLACES = {"chat": chat, "node": node, "node alone": node_alone, "agent": agent}
KNOWN = {"chat", "node"}
"""The places that see the large model's answer."""


@pytest.mark.parametrize("place", PLACES)
def test_each_decision_is_recorded_once(place):
    store = Kept()
    ask = PLACES[place](small, store)
    said = [ask("my money"), ask("where is it")]
    sure, deferred = store.records
    assert (said[0], sure["answer_label"], sure["source"]) == ("refund", "refund", "small")
    assert (deferred["source"], deferred["prediction"].confidence) == ("large", 0.4)
    if place in KNOWN:
        assert deferred["large"].value == "shipping"
    else:
        assert (deferred["answer"], "large" in deferred) == (None, False)


@pytest.mark.parametrize("place", PLACES)
def test_a_store_that_is_full_changes_no_answer(place):
    asked = [PLACES[place](small, store) for store in (None, Kept(full=True))]
    for text in ("my money", "where is it"):
        without, full = (ask(text) for ask in asked)
        assert without == full


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_store_is_refused(place):
    with pytest.raises(ValueError, match="expected what has a method record"):
        PLACES[place](small, "experience.sqlite")


@pytest.mark.parametrize("place", PLACES)
def test_a_store_knows_which_model_has_spoken(place, tmp_path):
    texts = [f"{word} {number}" for number in range(10) for word in ("money", "parcel")]
    scorer = SmallModelScorer.fit(texts, LABELS * 10, encoder=TinyEncoder())
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        PLACES[place](scorer, store)("money 3")
        store.flush()
        (row,) = store.rows()
    assert row.model_hash == scorer.model_hash
    assert row.text == "money 3"


def asked_agent(store):
    """An agent whose user says afterwards which label its words stand for."""
    made = agent(small, store)

    def ask(text):
        with decisions() as seen:
            said = made(text)
        if [one["source"] for one in seen] == ["large"]:
            store.answered(text, said)

    return ask


def asked_graph(store):
    """A graph in which another node answers what the small model is not sure of."""
    graphs = pytest.importorskip("langgraph.graph")
    answerer = record_answers(lambda state: {"answer": "shipping"}, store, text="input", read="answer", labels=LABELS)
    graph = graphs.StateGraph(ShuntRecord)
    graph.add_node("shunt", shunt_node(small, threshold=0.9, labels=LABELS, experience=store))
    graph.add_node("answer", answerer)
    graph.add_edge(graphs.START, "shunt")
    graph.add_conditional_edges("shunt", lambda state: graphs.END if state["source"] == "small" else "answer")
    made = graph.compile()
    return lambda text: made.invoke({"input": text})


@pytest.mark.parametrize("place", [asked_agent, asked_graph])
def test_an_answer_that_comes_later_teaches(place, tmp_path):
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        ask = place(store)
        ask("my money")
        ask("where is it")
        store.flush()
        lesson = Lesson.of(store.rows(), labels=LABELS, gold_texts=["a", "b"], gold_labels=LABELS)
    assert {row.text: row.answer for row in lesson.stream} == {"my money": None, "where is it": "shipping"}
