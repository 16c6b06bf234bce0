"""Steps that do not fit are an error with a small model before them, as they are without. An outage stays an outage."""

from __future__ import annotations

import json
import logging
from operator import itemgetter
from typing import Any

import pytest
from fakes import DownChat
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListChatModel, FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from dsplus_chains import Prediction, data_shunt, shunt

LABELS = ["billing", "shipping"]
MODEL = FakeListChatModel(responses=["shipping"])
PROMPT = ChatPromptTemplate([("human", "{ticket} {language}")])


def small(text: Any) -> Prediction:
    return Prediction(label="billing", confidence=0.97 if "refund" in text else 0.5)


async def later(value: Any) -> str:
    return "shipping"


async def in_pieces(values: Any) -> Any:
    async for _ in values:
        yield "shipping"


def failing(error: Exception) -> Any:
    def step(_: Any) -> str:
        raise error

    return step


APPS = {
    "a coroutine": (RunnableLambda(later), TypeError, "ainvoke|astream"),
    "an async generator": (RunnableGenerator(in_pieces), NotImplementedError, "async"),
    "a prompt that lacks a variable": (PROMPT | MODEL | StrOutputParser(), KeyError, "missing variables"),
    "a model that gets a dict": (MODEL | StrOutputParser(), ValueError, "Invalid input type"),
}
WAYS = {
    "invoke": lambda run, value: run.invoke(value),
    "batch": lambda run, value: run.batch([value] * 2),
    "stream": lambda run, value: list(run.stream(value)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", APPS)
def test_what_the_app_raises_alone_it_raises_with_a_shunt(name, way):
    app, error, told = APPS[name]
    shunted = shunt(app, small, threshold=0.9, labels=LABELS, output=str)
    for run in (app, shunted):
        with pytest.raises(error, match=told):
            WAYS[way](run, {"ticket": "where?"})


def test_an_unknown_keyword_of_a_call_is_told():
    shunted = shunt(lambda text: "shipping", small, threshold=0.9, labels=LABELS, output=str)
    with pytest.raises(TypeError, match="'nope'"):
        shunted.invoke("where?", nope=1)


def test_a_coroutine_behind_a_chain_and_one_as_a_small_model_are_told():
    chain = data_shunt(small, MODEL | later, labels=LABELS, instruction="Which?", threshold=0.9)
    asked = shunt(lambda text: "shipping", later, threshold=0.9, labels=LABELS, output=str)
    for run in (chain, asked):
        with pytest.raises(TypeError, match="ainvoke"):
            run.batch(["where?"] * 2)


def test_it_is_a_fallback_where_you_say_so():
    shunted = shunt(later, small, threshold=0.9, labels=LABELS, output=str, on_arm_bug="small")
    assert shunted.invoke("where?") == "billing"


OUTAGES = {
    "no connection": DownChat(),
    "fallbacks that are down too": DownChat().with_fallbacks([DownChat()]),
    "retries in vain": DownChat().with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    "no time left": RunnableLambda(failing(TimeoutError("no answer"))),
    "a value": RunnableLambda(failing(ValueError("too long"))),
    "an answer that is no JSON": MODEL | StrOutputParser() | json.loads,
    "an answer that lacks a key": MODEL | StrOutputParser() | (lambda text: {"said": text}) | itemgetter("label"),
    "an answer that cannot be read": RunnableLambda(failing(OutputParserException("no label"))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_is_still_answered_by_the_small_model(name, way, caplog):
    caplog.set_level(logging.CRITICAL)
    shunted = shunt(OUTAGES[name], small, threshold=0.9, labels=LABELS, output=str)
    assert "billing" in WAYS[way](shunted, "where?")


def first_answers(malformed: str) -> Any:
    """A step whose model answers one row in twenty in another form."""
    return RunnableLambda(lambda text: malformed if text == "3" else '{"topic": "x"}') | JsonOutputParser()


SECOND = FakeMessagesListChatModel(responses=[AIMessage("shipping")])
MALFORMED = {
    "a variable of the next prompt": ('{"subject": "a"}', ChatPromptTemplate([("human", "{topic}")]) | SECOND),
    "a number for a model": ("7", RunnableLambda(lambda said: said if said == 7 else "x") | SECOND),
    "an unknown role for a model": (
        '[["robot", "x"]]',
        RunnableLambda(lambda said: said if "topic" not in said else "x") | SECOND,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_in_mid_chain_costs_no_other_rows_answer(name, caplog):
    caplog.set_level(logging.CRITICAL)
    malformed, rest = MALFORMED[name]
    app = first_answers(malformed) | rest | StrOutputParser()
    shunted = shunt(app, small, threshold=0.9, labels=LABELS, output=str)
    answers = shunted.batch([str(row) for row in range(20)])
    assert answers == ["billing" if row == 3 else "shipping" for row in range(20)]
