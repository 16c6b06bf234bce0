"""Each shape of app keeps its inputs, its requests and its outputs, with a shunt around it."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from app_shapes import LABELS, SHAPES, SURE, UNSURE, table
from langchain_core.messages import BaseMessage
from langchain_core.runnables.base import coerce_to_runnable
from langchain_openai import ChatOpenAI
from openai_server import openai_server

from dsplus_chains import Prediction, shunt

LOOP = asyncio.Runner()
"""One loop for all, since clients keep the connections of a loop that is over, whatever model they belong to."""


def small(text: str) -> Prediction:
    return Prediction(label="billing", confidence=0.97 if SURE in text else 0.5)


@pytest.fixture(scope="module")
def server():
    with openai_server(lambda _: "shipping") as running:
        yield running


@pytest.fixture(scope="module")
def model(server):
    return ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)


def invoke(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    return [app.invoke(value, config) for value, config in zip(inputs, configs, strict=True)]


def batch(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    return app.batch(inputs, configs)


def stream(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    return [list(app.stream(value, config)) for value, config in zip(inputs, configs, strict=True)]


def awaited(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    async def ask() -> list[Any]:
        return [await app.ainvoke(value, config) for value, config in zip(inputs, configs, strict=True)]

    return LOOP.run(ask())


def abatch(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    async def ask() -> list[Any]:
        return await app.abatch(inputs, configs)

    return LOOP.run(ask())


def astream(app: Any, inputs: list[Any], configs: list[Any]) -> list[Any]:
    async def ask() -> list[Any]:
        return [
            [chunk async for chunk in app.astream(value, config)] for value, config in zip(inputs, configs, strict=True)
        ]

    return LOOP.run(ask())


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated in LangChain"),
    pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),  # of the app alone, when it streams
]

WAYS = [invoke, batch, stream, awaited, abatch, astream]


def plain(value: Any) -> Any:
    """An output without what no two calls share."""
    if isinstance(value, BaseMessage):
        return {**value.model_dump(exclude={"id", "response_metadata"}), "kind": type(value)}
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    if isinstance(value, list) and value and all(isinstance(held, dict) for held in value):
        return sorted((plain(held) for held in value), key=repr)  # a RunnableParallel's chunks come as they are ready
    return [plain(held) for held in value] if isinstance(value, list) else value


def kind(value: Any) -> Any:
    """The type of an output, and of what it holds."""
    if isinstance(value, dict):
        return {key: kind(held) for key, held in value.items() if held is not None}
    return type(value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_inputs_requests_and_outputs_are_those_of_the_app_alone(shape, way, server, model):
    app = coerce_to_runnable(shape.app(model))
    shunted = shunt(app, small, threshold=0.9, labels=LABELS, **shape.around)
    texts = [UNSURE, f"{UNSURE} again"]

    def configs() -> list[Any]:
        return [shape.config() if shape.config else {} for _ in texts]

    server.taken()
    alone = way(app, [shape.give(text) for text in texts], configs())
    asked = server.taken()
    assert len(asked) == 2
    given = [shape.give(text) for text in texts]
    beside = way(shunted, given, configs())
    assert server.taken() == asked
    assert plain(beside) == plain(alone)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_sure_answer_costs_no_request_and_has_the_type_of_the_apps(shape, way, server, model):
    app = coerce_to_runnable(shape.app(model))
    shunted = shunt(app, small, threshold=0.9, labels=LABELS, **shape.around)
    config = [shape.config() if shape.config else {}]
    (alone,) = invoke(app, [shape.give(UNSURE)], config)
    server.taken()
    (answer,) = way(shunted, [shape.give(SURE)], config)
    assert server.taken() == []
    if way in {stream, astream}:
        (answer,) = answer
        if isinstance(alone, BaseMessage):
            alone = stream(app, [shape.give(UNSURE)], config)[0][-1]
        elif shape.name == "a LangGraph graph":
            (answer,) = answer.values()  # by node
    assert kind(answer) == kind(alone) or shape.made_by_hand
    assert shunted.read(answer) == "billing"


@pytest.mark.skipif(find_spec("langgraph.graph") is None, reason="the table has a row about LangGraph")
def test_the_table_in_the_readme_is_this_one():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert table() in readme
    assert len(SHAPES) >= 24
