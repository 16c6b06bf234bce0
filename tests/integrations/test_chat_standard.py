"""LangChain's own suites for chat models, on `ShuntChatModel` and on its large model alone."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from openai_server import openai_server

from dsplus_chains import Prediction, ShuntChatModel


def small(text: str) -> Prediction:
    """Sure of greetings."""
    return Prediction(label="hello", confidence=0.97 if text == "Hello" else 0.5)


def around(large: Any) -> dict[str, Any]:
    return {"large": large, "scorer": small, "threshold": 0.9, "labels": ["hello", "other"]}


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ShuntChatModel

    @property
    def chat_model_params(self):
        return around(ChatOpenAI(model="m", api_key="none"))
