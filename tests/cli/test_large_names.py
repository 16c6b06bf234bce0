"""The names of large models that `--large` knows."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from dsplus_chains.cli.large_options import large_model
from dsplus_chains.storage.answer_cache import SQLiteAnswerCache

NEEDS_LANGCHAIN = pytest.mark.skipif(find_spec("langchain") is None, reason="langchain is an extra")


@NEEDS_LANGCHAIN
def test_a_name_that_langchain_knows_makes_its_client(tmp_path):
    model = large_model("ollama:llama3", "http://localhost:9", tmp_path / "answers.sqlite", timeout=7)
    assert (type(model).__name__, model.model, model.base_url) == ("ChatOllama", "llama3", "http://localhost:9")
    assert (model.temperature, model.client_kwargs) == (0, {"timeout": 7})
    assert isinstance(model.cache, SQLiteAnswerCache)


@NEEDS_LANGCHAIN
def test_the_name_of_a_model_may_hold_colons():
    assert large_model("ollama:llama3:8b", None).model == "llama3:8b"


@NEEDS_LANGCHAIN
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("anthropic:claude", "pip install langchain-anthropic"),
        ("groq:llama", "pip install langchain-groq"),
        ("telepathy:m", "Supported providers"),
        ("gpt", 'expected "smollm2" or "openai:NAME"'),
        ("ollama:", "ollama:NAME"),
        (":llama3", "ollama:NAME"),
    ],
)
def test_the_error_of_a_name_says_what_is_missing(name, told):
    with pytest.raises(ValueError, match=told):
        large_model(name, None)


def test_without_langchain_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain", None)
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(ValueError, match=r"--large 'ollama:llama3'.*langchain"):
        large_model("ollama:llama3", None)


@NEEDS_LANGCHAIN
def test_a_command_says_it_in_a_line(dsplus, tmp_path):
    code, said = dsplus("demo", "--large", "anthropic:claude")
    assert code != 0
    assert "pip install langchain-anthropic" in " ".join(said.split())
    assert "Traceback" not in said
