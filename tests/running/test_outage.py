"""A failing provider is an outage, a bug of the caller's is not; where it was raised tells them apart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from copy import copy
from operator import attrgetter, itemgetter
from types import SimpleNamespace

import httpx
import openai
import pandas as pd
import pytest
from fakes import DownChat
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.example_selectors import SemanticSimilarityExampleSelector
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.prompts import ChatPromptTemplate, FewShotPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.runnables.utils import add
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import create_model

from dsplus_chains import Prediction, SubtaskError
from dsplus_chains.running.outage import is_callers_bug, is_outage, is_unfit_input, is_wrong_value, why_hopeless
from dsplus_chains.scoring.decision_model import DecisionModelScorer


def raised(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value


def in_a_chain(function):
    return raised(lambda: (RunnableLambda(function) | RunnableLambda(str)).invoke({}))


def in_async_chain(*steps):
    return raised(lambda: asyncio.run(RunnableSequence(*steps, RunnableLambda(str)).ainvoke("x")))


def answered(text, step):
    """The error of a step that reads what a model has answered."""
    return raised(lambda: (FakeListChatModel(responses=[text]) | step).invoke("hello"))


async def later(value):
    return value


async def piece_by_piece(values):
    async for value in values:
        yield value


def with_history(session=None):
    chat = RunnableWithMessageHistory(RunnableLambda(str), lambda session_id: InMemoryChatMessageHistory())
    return chat if session is None else chat.with_config(configurable={"session_id": session})


def shown_examples():
    """A prompt whose examples a client looks for, which is malformed inside."""
    selector = SemanticSimilarityExampleSelector(vectorstore=VectorStoreThatIsDown())
    return FewShotPromptTemplate(
        example_selector=selector,
        example_prompt=PromptTemplate.from_template("{a}"),
        suffix="{a}",
        input_variables=["a"],
    )


class VectorStoreThatIsDown(InMemoryVectorStore):
    def __init__(self):
        super().__init__(DeterministicFakeEmbedding(size=2))

    def similarity_search(self, *args, **kwargs):
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text="{"))).get("http://x").json()


MODEL = FakeListChatModel(responses=["hi"])
UNFIT_PROMPT = ChatPromptTemplate([("human", "{a}")])
MISFITS = {
    "a coroutine called sync": lambda: raised(lambda: RunnableLambda(later).invoke("x")),
    "a coroutine in a chain": lambda: raised(lambda: (RunnableLambda(str) | later).batch(["x"])),
    "a coroutine in a stream": lambda: raised(lambda: list(RunnableLambda(later).stream("x"))),
    "an async generator called sync": lambda: raised(lambda: RunnableGenerator(piece_by_piece).invoke("x")),
    "an unknown keyword": lambda: raised(lambda: RunnableLambda(lambda text: text).invoke("x", nope=1)),
    "a step of two arguments": lambda: raised(lambda: RunnableLambda(lambda a, b: a).invoke("x")),
    "a step of two arguments, awaited": lambda: in_async_chain(RunnableLambda(lambda a, b: a)),
    "a conversation without its session": lambda: raised(lambda: with_history().invoke("x")),
    "an alternative that is not there": lambda: raised(
        lambda: MODEL.configurable_alternatives(ConfigurableField(id="llm")).invoke(
            "x", {"configurable": {"llm": "typo"}}
        )
    ),
}
UNFIT = {
    "a variable that a prompt lacks": (ChatPromptTemplate([("human", "{a}")]), {"b": 1}),
    "a template that gets no dict": (ChatPromptTemplate([("human", "{a} {b}")]), "x"),
    "a placeholder that gets no messages": (ChatPromptTemplate([MessagesPlaceholder("a")]), {"a": "x"}),
    "a placeholder with an unknown role": (ChatPromptTemplate([MessagesPlaceholder("a")]), {"a": [("humn", "x")]}),
    "a chat model that gets a dict": (MODEL, {"a": 1}),
    "a chat model that gets an unknown role": (MODEL, [("a", "x")]),
}


LABELS, n = ["a"], 7
FRAME = pd.DataFrame({"score": [1]})
CONFIGURED = MODEL.configurable_fields(responses=ConfigurableField(id="said"))
OWN = {
    "KeyError": lambda: raised(lambda: {}["x"]),
    "AttributeError": lambda: raised(lambda: None.content),
    "TypeError": lambda: raised(lambda: len(3)),
    "NameError": lambda: raised(lambda: no_such_name),  # noqa: F821
    "IndexError": lambda: raised(lambda: LABELS[n]),
    "ImportError": lambda: raised(lambda: __import__("no_such_module_at_all")),
    "through a chain": lambda: in_a_chain(lambda record: record["text"]),
    "through the standard library": lambda: raised(lambda: json.loads(3)),
    "through a callback of the standard library": lambda: raised(lambda: sorted([1, 2], key=lambda n: n.size)),
    "a name that a message does not have": lambda: raised(lambda: AIMessage("x").contents),
    "a name behind two look-ups": lambda: raised(lambda: CONFIGURED.no_such_name),
    "a column that a frame does not have": lambda: raised(lambda: FRAME["scores"]),
    "an index that a frame does not have": lambda: raised(lambda: FRAME.iloc[7]),
    "a message of a prompt that is not there": lambda: raised(lambda: UNFIT_PROMPT[7]),
    "in a subtask": lambda: subtask_error(raised(lambda: {}["x"])),
}
OTHERS = {
    "a time-out": lambda: TimeoutError("no answer"),
    "a connection": lambda: ConnectionError("down"),
    "an answer that is no label": lambda: OutputParserException("no label"),
    "a value": lambda: ValueError("of the input"),
    "a provider's malformed reply": lambda: raised(malformed_reply),
    "a key that a model's answer lacks": lambda: answered("{}", JsonOutputParser() | itemgetter("label")),
    "a model's answer of another form": lambda: answered('"x"', JsonOutputParser() | itemgetter("label")),
    "a model's answer that is no dict": lambda: answered("[1]", JsonOutputParser() | RunnablePassthrough.assign(a=str)),
    "a name that a model's answer lacks": lambda: answered("x", RunnableLambda(attrgetter("contents"))),
    "a column that a client's frame lacks": lambda: raised(lambda: FRAME.pivot(columns="scores")),
    "a variable that a model's answer lacks": lambda: answered('{"b": 1}', JsonOutputParser() | UNFIT_PROMPT),
    "a model's answer that is no message": lambda: answered("7", JsonOutputParser() | MODEL),
    "a model's answer of an unknown role": lambda: answered('[["a", "x"]]', JsonOutputParser() | MODEL),
    "a model's answer as a history": lambda: answered("7", JsonOutputParser() | with_history("a")),
    "fallbacks that are all down": lambda: raised(lambda: DownChat().with_fallbacks([DownChat()]).invoke("hello")),
    "retries that are all in vain": lambda: raised(lambda: DownChat().with_retry(stop_after_attempt=1).invoke("hello")),
    "chunks that cannot be added": lambda: raised(lambda: add([1, "x"])),
    "a client of examples": lambda: raised(lambda: shown_examples().invoke({"a": "x"})),
    "LangChain's own TypeError": lambda: raised(lambda: AIMessage(content=None)),
    "one that was never raised": lambda: KeyError("x"),
}


def subtask_error(cause):
    error = SubtaskError("subtask 'a' failed", subtask="a")
    error.__cause__ = cause
    return error


def malformed_reply():
    """What the OpenAI client makes of a reply without choices, as langchain-openai reads it."""
    from langchain_openai import ChatOpenAI

    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body)))
    ChatOpenAI(model="m", api_key="x", http_client=client).invoke("hello")


@pytest.mark.parametrize("name", OWN)
def test_a_bug_in_the_callers_own_code_is_one(name):
    error = OWN[name]()
    assert is_callers_bug(error), repr(error)
    assert not is_outage(error)


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory")
@pytest.mark.parametrize("name", MISFITS)
def test_what_langchain_says_of_a_wrong_call_is_a_bug(name):
    error = MISFITS[name]()
    assert is_callers_bug(error), repr(error)
    assert not is_outage(error)


@pytest.mark.parametrize("way", ["invoke", "batch", "stream", "ainvoke"])
@pytest.mark.parametrize("name", UNFIT)
def test_only_an_apps_first_step_says_that_the_apps_input_does_not_fit(name, way):
    step, given = UNFIT[name]
    app = RunnablePassthrough() | step | RunnableLambda(str)
    calls = {
        "invoke": lambda: app.invoke(given),
        "batch": lambda: asyncio.run(app.abatch([given]))[0],
        "stream": lambda: list(app.stream(given)),
        "ainvoke": lambda: asyncio.run(app.ainvoke(given)),
    }
    error = raised(calls[way])
    assert is_unfit_input(error, step, given)
    assert not is_unfit_input(error, step, copy(given) if isinstance(given, (dict, list)) else "y")
    assert not is_unfit_input(error, app, given)
    assert not is_callers_bug(error)
    assert not is_outage(error)


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory")
@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_none(name):
    assert not is_callers_bug(OTHERS[name]())


def test_a_value_of_ours_is_made_wrongly_only_by_the_callers_own_code():
    wrong = raised(lambda: Prediction(label="a", confidence=95))
    assert is_wrong_value(wrong)
    assert not is_outage(wrong)
    reply = SimpleNamespace(answers=defaultdict(lambda: SimpleNamespace(type="noul", noul=95)))
    by_us = raised(lambda: DecisionModelScorer._prediction(None, reply))
    assert by_us.title == wrong.title
    namesake = create_model("Prediction", label=(str, ...))
    for other in (by_us, raised(lambda: namesake(label=3)), raised(lambda: int("a"))):
        assert not is_wrong_value(other)
        assert is_outage(other)


@pytest.mark.parametrize("built_on", ["langchain-core>=1", "dsplus-chains", None])
def test_an_installed_app_is_the_callers_code_and_an_installed_client_is_not(tmp_path, built_on):
    """A package that is built on LangChain is an app; any other installed package may be a provider's client."""
    site = tmp_path / "site-packages"
    (site / "somebodys").mkdir(parents=True)
    (site / "somebodys" / "__init__.py").write_text("def step(record):\n    return record['nowhere']\n")
    info = site / "somebodys-1.0.dist-info"
    info.mkdir()
    requires = f"Requires-Dist: {built_on}\n" if built_on else "Requires-Dist: httpx\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n{requires}")
    (info / "RECORD").write_text("somebodys/__init__.py,,\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pathlib, dsplus_chains.running.outage as outage, somebodys\n"
        "outage._PACKAGES.add(pathlib.Path(sys.argv[1]).resolve())\n"
        "try: somebodys.step({})\n"
        "except KeyError as error: print(outage.is_callers_bug(error))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(site)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(built_on is not None)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_and_a_model_that_is_not_there_are_hopeless(status):
    request = httpx.Request("POST", "http://x")
    error = openai.APIStatusError("no", response=httpx.Response(status, request=request), body=None)
    assert why_hopeless(error)
    assert why_hopeless(httpx.HTTPStatusError("no", request=request, response=httpx.Response(status)))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_other_statuses_may_pass(status):
    request = httpx.Request("POST", "http://x")
    error = openai.APIStatusError("no", response=httpx.Response(status, request=request), body=None)
    assert why_hopeless(error) is None
    assert is_outage(error)
