"""The server of the fixtures is a real one: plain ChatOpenAI works against it, and notices when it dies."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

pytestmark = [pytest.mark.wire, pytest.mark.local]

TIMEOUT = 1200.0
"""Seconds for an answer. It takes a few, and more on a machine that is busy with others."""


def chat(server: Any, **settings: Any) -> ChatOpenAI:
    given = {"max_tokens": 4, "temperature": 0, "timeout": TIMEOUT, "max_retries": 0, **settings}
    return ChatOpenAI(model=server.model, base_url=server.base_url, api_key="none", **given)


def test_it_answers_with_its_name_and_what_it_used(openai_server: Any) -> None:
    answer = chat(openai_server, max_tokens=8).invoke("What is the capital of France?")

    assert "Paris" in answer.text
    assert answer.response_metadata["model_name"].startswith(openai_server.model)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > answer.usage_metadata["output_tokens"] > 0


def test_it_streams_tokens_and_their_usage(openai_server: Any) -> None:
    chunks = list(chat(openai_server, max_tokens=8, stream_usage=True).stream("What is the capital of France?"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk

    assert len([chunk for chunk in chunks if chunk.content]) > 3
    assert "Paris" in whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 8


async def test_it_takes_32_requests_at_once(openai_server: Any) -> None:
    prompts = [f"Say {number}." for number in range(32)]
    answers = await chat(openai_server).abatch(prompts, config={"max_concurrency": 32})

    assert len(answers) == 32
    assert all(answer.usage_metadata["output_tokens"] <= 4 for answer in answers)


async def test_a_killed_server_leaves_errors_and_no_process(start_openai_server: Callable[[], Any]) -> None:
    server = start_openai_server()
    model = chat(server, max_tokens=64)
    batch = asyncio.ensure_future(
        model.abatch(
            [f"Count to {number}." for number in range(50, 58)], config={"max_concurrency": 8}, return_exceptions=True
        )
    )
    await asyncio.sleep(2)
    server.kill()
    answers = await asyncio.wait_for(batch, TIMEOUT / 2)

    assert any(isinstance(answer, Exception) for answer in answers)
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)
