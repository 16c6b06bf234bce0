"""An option that is none of its values is refused at once, wherever it is no field of a pydantic class."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import TinyEncoder
from langchain_core.language_models import FakeListChatModel

from dsplus_chains import LabelTask, Prediction, SmallModelScorer, data_shunt, evaluate, shunt
from dsplus_chains.documents import cut
from dsplus_chains.encoding import as_encoder
from dsplus_chains.integrations import ShuntChatModel, ShuntMiddleware, shunt_node
from dsplus_chains.learning import learn, read_logs, record_answers
from dsplus_chains.storage import Bundle
from dsplus_chains.tables import read_table

LABELS = ["billing", "shipping"]
APP = FakeListChatModel(responses=["shipping"])


def small(text: str) -> Prediction:
    return Prediction(label="billing", confidence=0.5)


def around(**options: Any) -> Any:
    return shunt(APP, small, **{"threshold": 0.9, "labels": LABELS, **options})


def node(**options: Any) -> Any:
    return shunt_node(small, **{"threshold": 0.9, "labels": LABELS, **options})


def agent(**options: Any) -> Any:
    pytest.importorskip("langchain.agents", reason="needs the extra agents")
    return ShuntMiddleware(small, **{"threshold": 0.9, "labels": LABELS, **options})


def chain(**options: Any) -> Any:
    return data_shunt(small, APP, **{"labels": LABELS, "instruction": "Which?", "threshold": 0.9, **options})


def fitted() -> SmallModelScorer:
    return SmallModelScorer.fit(["a b", "c d", "a e", "c f"] * 5, ["x", "y"] * 10, encoder=TinyEncoder())


def learned(**options: Any) -> Any:
    return learn(Bundle(scorer=fitted(), instruction="Which?"), [], **options)


def measured(**options: Any) -> Any:
    record = {"input": "a", "prediction": Prediction(label="x", confidence=0.9), "answer": "x", "source": "small"}
    return evaluate([record], ["x"]).to_frame(**options)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,answer\nwhere?,shipping\n")
    return path


WRONG = {
    "a threshold of a shunt": (lambda _: around(threshold={"Billing": 0.9}), r"\['Billing'\].*among \['billing'"),
    "a threshold of a node": (lambda _: node(threshold={"Billing": 0.9}), r"\['Billing'\].*among \['billing'"),
    "a threshold of an agent": (lambda _: agent(threshold={"Billing": 0.9}), r"\['Billing'\].*among \['billing'"),
    "a threshold of a chat model": (
        lambda _: ShuntChatModel(large=APP, scorer=small, threshold={"Billing": 0.9}, labels=LABELS),
        r"\['Billing'\].*among \['billing'",
    ),
    "hints of a shunt": (lambda _: around(hints="hard"), "Got hints='hard'.*'none', 'soft', 'system'"),
    "hints of a node": (lambda _: node(hints="hard", large=APP), "Got hints='hard'"),
    "hints of a node alone": (lambda _: node(hints="hard"), "Got hints='hard'"),
    "hints of an agent": (lambda _: agent(hints="system"), "Got hints='system'.*'soft', 'none'"),
    "turns of a shunt": (lambda _: around(when="first"), "Got when='first'.*'each_turn', 'single_turn'"),
    "turns of a node": (lambda _: node(when="first"), "Got when='first'"),
    "turns of an agent": (lambda _: agent(when="first"), "Got when='first'"),
    "what a node does on an error": (lambda _: node(on_large_error="x"), "Got on_large_error='x'"),
    "what a chain does on an error": (lambda _: chain(on_small_error="x"), "Got on_small_error='x'.*'large', 'raise'"),
    "a fusion by its name": (lambda _: chain(fusion="posterior"), "Got fusion='posterior'.*AnswerFusion"),
    "a reader": (lambda _: around(read=3), "Got read=3 .*parser or a function"),
    "a place of the text": (lambda _: around(text=None), "Got text=None .*Say where it is"),
    "few labels in a hint": (lambda _: around(top_k=-3), "Got top_k=-3 .*at least 1"),
    "few labels in an agent's hint": (lambda _: agent(top_k=0), "Got top_k=0 .*at least 1"),
    "labels of a shunt": (lambda _: around(labels="billing"), r"Got labels='billing' .*\['billing'\]"),
    "labels of an app that is recorded": (lambda _: record_answers(APP, None, labels="x"), "Got labels='x'"),
    "labels of a chain": (lambda _: chain(labels="billing"), "Got labels='billing'"),
    "a set of labels": (lambda _: LabelTask(labels={"a", "b"}), r"\(set\) but expected a list, such as sorted"),
    "a set of labels of a chain": (lambda _: chain(labels=set(LABELS)), r"\(set\) but expected a list"),
    "a set of labels of a shunt": (lambda _: around(labels=frozenset(LABELS)), r"\(frozenset\) but expected a list"),
    "labels with their meanings": (lambda _: chain(labels={"billing": "a bill"}), "go into descriptions="),
    "a set of strong labels": (lambda _: chain(labels=LABELS, strong_labels={"billing"}), r"strong_labels=.*\(set\)"),
    "labels beside a scorer": (lambda _: shunt(APP, fitted(), threshold=0.9, labels="x"), "Got labels='x'"),
    "an aim": (lambda _: learned(aim="cheap"), "Got aim='cheap'.*'calls', 'accuracy'"),
    "a method": (lambda _: learned(method="sgd"), "Got method='sgd'.*'refit', '2cd'"),
    "a frame": (lambda _: measured(of="chain"), "Got of='chain'.*'chains', 'curve', 'labels', 'errors'"),
    "a log": (lambda path: read_logs(path, format="csv"), "Got format='csv'.*'langsmith'"),
    "a log's inputs": (lambda path: read_logs(path, modality="images"), "Got modality='images'.*'text', 'image'"),
    "a table's inputs": (lambda path: read_table(path).texts("text", modality="images"), "Got modality='images'"),
    "a table's empty cells": (lambda path: read_table(path).texts("text", empty="drop"), "Got empty='drop'"),
    "a cut": (lambda _: cut("One. Two.", "sentence"), "Got split='sentence'.*'sentences', 'paragraphs'"),
    "an encoder's inputs": (lambda _: as_encoder(TinyEncoder(), modality="texts"), "Got modality='texts'"),
}


@pytest.mark.parametrize(("make", "told"), WRONG.values(), ids=WRONG)
def test_an_option_that_is_none_of_its_values_is_refused(make, told, path):
    with pytest.raises(ValueError, match=told):
        make(path)
