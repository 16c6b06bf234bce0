"""A failing provider is an outage, a bug of the caller's is not; where it was raised tells them apart."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import openai
import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from dsplus_chains import SubtaskError
from dsplus_chains.running.outage import is_callers_bug, is_outage, why_hopeless


def raised(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value


def in_a_chain(function):
    return raised(lambda: (RunnableLambda(function) | RunnableLambda(str)).invoke({}))


LABELS, n = ["a"], 7
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
    "in a subtask": lambda: subtask_error(raised(lambda: {}["x"])),
}
OTHERS = {
    "a time-out": lambda: TimeoutError("no answer"),
    "a connection": lambda: ConnectionError("down"),
    "an answer that is no label": lambda: OutputParserException("no label"),
    "a value": lambda: ValueError("of the input"),
    "a provider's malformed reply": lambda: raised(malformed_reply),
    "LangChain's own KeyError": lambda: raised(lambda: ChatPromptTemplate.from_template("{a}").invoke({"b": 1})),
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


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_none(name):
    assert not is_callers_bug(OTHERS[name]())


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
