"""The answer cache: nothing is asked twice, nothing is lost of an answer, nothing is confused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from dsplus_chains.schema import InvalidInputError
from dsplus_chains.storage.answer_cache import SQLiteAnswerCache

TOLD = AIMessage(
    "negative",
    usage_metadata={"input_tokens": 90, "output_tokens": 2, "total_tokens": 92},
    response_metadata={"logprobs": {"content": [{"token": "negative", "logprob": -0.1}]}},
)


def asking(cache: SQLiteAnswerCache, *answers: AIMessage) -> Any:
    return GenericFakeChatModel(messages=iter(answers), cache=cache)


def test_an_answer_is_paid_for_once_and_comes_back_whole_from_the_file(tmp_path: Path) -> None:
    first = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    asking(first, TOLD).invoke("It broke.")
    first.close()

    again = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    answer = asking(again).invoke("It broke.")  # a model that has nothing to say

    assert answer.text == "negative"
    assert answer.usage_metadata["total_tokens"] == 92
    assert answer.response_metadata == TOLD.response_metadata
    assert len(again) == 1
    again.close()


@pytest.mark.parametrize("asked", [("another prompt", "model"), ("prompt", "another model"), ("prompt\0", "model")])
def test_another_prompt_or_model_is_asked_anew(asked: tuple[str, str]) -> None:
    cache = SQLiteAnswerCache(":memory:")
    cache.update("prompt", "model", [ChatGeneration(message=TOLD)])
    assert cache.lookup(*asked) is None
    assert cache.lookup("prompt", "model") is not None
    cache.close()


async def test_async_clear_and_what_is_no_message() -> None:
    cache = SQLiteAnswerCache(":memory:")
    cache.update("prompt", "model", [Generation(text="an old completion model's")])
    assert cache.lookup("prompt", "model") is None
    await cache.aupdate("prompt", "model", [ChatGeneration(message=TOLD), ChatGeneration(message=AIMessage("no"))])
    found = await cache.alookup("prompt", "model")
    assert found is not None
    assert [generation.text for generation in found] == ["negative", "no"]
    cache.clear()
    assert len(cache) == 0
    cache.close()


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and no database.\n" * 50)
    with pytest.raises(InvalidInputError, match=r"notes\.txt.*name another file"):
        SQLiteAnswerCache(path)
    assert path.read_text().startswith("These are my notes")
