"""LangChain's own suites for chat models, on `ShuntChatModel` and on its large model alone."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from openai_server import openai_server

from dsplus_chains import Prediction, ShuntChatModel

pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),  # of the large model alone
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema"),  # of the large model alone
]


def small(text: str) -> Prediction:
    """Sure of greetings."""
    return Prediction(label="hello", confidence=0.97 if text == "Hello" else 0.5)


def around(large: Any) -> dict[str, Any]:
    return {"large": large, "scorer": small, "threshold": 0.9, "labels": ["hello", "other"]}


class TestUnitOfFake(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ShuntChatModel

    @property
    def chat_model_params(self):
        return around(FakeListChatModel(responses=["yes"]))

    @property
    def has_structured_output(self):
        return False

    @property
    def has_tool_calling(self):
        return False


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self):
        return ShuntChatModel

    @property
    def chat_model_params(self):
        return around(ChatOpenAI(model="m", api_key="none"))


@pytest.fixture(scope="module")
def server():
    """A server that repeats what it is told, and calls a tool for the weather."""
    with openai_server(lambda text: text or "yes", calls=lambda text: "weather" in text) as running:
        yield running


class TestLargeAlone(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _at(self, server):
        self.base_url = server.base_url

    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {"model": "m", "base_url": self.base_url, "api_key": "none", "stream_usage": True}

    @property
    def model_override_value(self):
        return "other"

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True


class TestShunted(TestLargeAlone):
    @property
    def chat_model_class(self):
        return ShuntChatModel

    @property
    def chat_model_params(self):
        return around(ChatOpenAI(**super().chat_model_params))


class TestSure(TestShunted):
    """The small model answers whatever it may."""

    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "threshold": 0.1}


class TestHinted(TestShunted):
    """The large model is told what the small model thinks."""

    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "hints": "system"}
