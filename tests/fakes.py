"""Recording fakes: small, deterministic, picklable; each counts the calls that a real model would get."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import get_config_list
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from dsplus_chains.schema import Prediction


@dataclass
class TinyEncoder:
    """Hashed bags of words: enough for a head to learn from."""

    name: str = "tiny"
    dimensions: int = 64
    calls: list[int] = field(default_factory=list)

    def encode(self, texts):
        self.calls.append(len(texts))
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % self.dimensions] += 1
            vectors[row] /= max(1.0, float(np.linalg.norm(vectors[row])))
        return vectors


class NamedEncoder(TinyEncoder):
    """One that a bundle can name."""

    recipe = {"kind": "sentence", "name": "tiny"}  # noqa: RUF012


def threshold_between(scorer, surer, less_sure):
    """A threshold between the confidences of two texts."""
    high, low = (record["prediction"].confidence for record in scorer.batch([surer, less_sure]))
    assert low < high - 0.01
    return (low + high) / 2


class Recording(Runnable):
    """A Runnable over a function, with a vectorised batch; it records batch sizes, inputs and configs.

    A row for which the function returns or raises an exception fails alone. It waits `delay` seconds a batch.
    """

    def __init__(self, function, *, delay: float = 0.0, name: str | None = None):
        self.function = function
        self.delay = delay
        self.name = name
        self.sizes: list[int] = []
        self.inputs: list[Any] = []
        self.configs: list[Any] = []

    def __getstate__(self):
        return {**self.__dict__, "sizes": [], "inputs": [], "configs": []}  # what was recorded stays here

    def invoke(self, input, config=None, **kwargs):
        return self.batch([input], config, **kwargs)[0]

    async def ainvoke(self, input, config=None, **kwargs):
        return (await self.abatch([input], config, **kwargs))[0]

    def batch(self, inputs, config=None, *, return_exceptions=False, **kwargs):
        self.sizes.append(len(inputs))
        self.inputs += inputs
        self.configs += get_config_list(config, len(inputs))
        return self._batch_with_config(self._answers, inputs, config, return_exceptions=return_exceptions)

    async def abatch(self, inputs, config=None, *, return_exceptions=False, **kwargs):
        self.sizes.append(len(inputs))
        self.inputs += inputs
        self.configs += get_config_list(config, len(inputs))
        if self.delay:
            await asyncio.sleep(self.delay)
        return await self._abatch_with_config(self._aanswers, inputs, config, return_exceptions=return_exceptions)

    def _answers(self, inputs):
        answers = []
        for value in inputs:
            try:
                answers.append(self.function(value))
            except Exception as error:
                answers.append(error)
        return answers

    async def _aanswers(self, inputs):
        return self._answers(inputs)


class Gauge:
    """How many calls are under way at once, at most."""

    def __init__(self):
        self.now = self.most = 0
        self._lock = Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self._lock:
            self.now -= 1

    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        self.__init__()


def predict(text: str) -> Prediction:
    """A stub small model: sure of everything but questions, and it chokes on poison."""
    if "poison" in text:
        raise RuntimeError("the small model choked")
    label = "negative" if "bad" in text else "positive"
    confidence = 0.6 if "?" in text else 0.95
    other = "positive" if label == "negative" else "negative"
    return Prediction(label=label, confidence=confidence, probabilities={label: confidence, other: 1 - confidence})


def record_of(text: str) -> dict[str, Any]:
    """The record that a scorer would make of a text."""
    return {"input": text, "prediction": predict(text)}


class CountingChat(BaseChatModel):
    """A chat model over a function of the prompt's text: records batches and prompts, and tells its tokens."""

    function: Any
    sizes: list[int] = Field(default_factory=list)
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "counting"

    def batch(self, inputs, config=None, **kwargs):
        self.sizes.append(len(inputs))
        return super().batch(inputs, config, **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        text = "\n".join(str(message.content) for message in messages)
        self.asked.append(text)
        spent = {"input_tokens": len(text) // 4, "output_tokens": 1, "total_tokens": len(text) // 4 + 1}
        message = AIMessage(self.function(text), usage_metadata=spent)
        return ChatResult(generations=[ChatGeneration(message=message)])


class StructuredChat(CountingChat):
    """A chat model that can be bound to tools. It calls the first one, with the function's value in each field."""

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    async def abatch(self, inputs, config=None, **kwargs):
        self.sizes.append(len(inputs))
        return await super().abatch(inputs, config, **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, *, tools, **kwargs):
        (generation,) = super()._generate(messages).generations
        wanted = tools[0]["function"]
        said = dict.fromkeys(wanted["parameters"]["properties"], generation.message.content)
        call = {"name": wanted["name"], "args": said, "id": "1"}
        message = generation.message.model_copy(update={"content": "", "tool_calls": [call]})
        return ChatResult(generations=[ChatGeneration(message=message)])


class DownChat(CountingChat):
    """A chat model that cannot be reached."""

    function: Any = None

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise ConnectionError("down")
