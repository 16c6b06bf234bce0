"""A free text that was cut off stays the answer, and it is told that it was cut off."""

from __future__ import annotations

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate

from dsplus_chains import Prediction, data_shunt, shunt
from dsplus_chains.running import telling

PROMPT = ChatPromptTemplate.from_template("Say it again: {input}")


class Ending(GenericFakeChatModel):
    """A model that tells the ending in the last chunk of a stream, as providers do."""

    def _stream(self, *_, **__):
        message = next(self.messages)
        yield ChatGenerationChunk(message=AIMessageChunk(message.content[:4]))
        last = AIMessageChunk(message.content[4:], response_metadata=message.response_metadata)
        yield ChatGenerationChunk(message=last)


def app(*endings):
    """An app whose answers end so, one after the other."""
    answers = [AIMessage("once upon", response_metadata={"finish_reason": ending}) for ending in endings]
    return PROMPT | Ending(messages=iter(answers)) | StrOutputParser()


def unsure(text):
    return Prediction(value=text, confidence=0.1)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(telling, "_told", set())


def test_a_cut_answer_is_kept_and_told_once(caplog):
    chain = data_shunt(unsure, app("stop", "length", "length"), threshold=0.8)
    found = [chain.invoke(text) for text in ("a", "b", "c")]
    assert [record["large"].cut_off for record in found] == [False, True, True]
    assert [record["answer"] for record in found] == ["once upon"] * 3
    assert [record["source"] for record in found] == ["large"] * 3
    assert [record.getMessage() for record in caplog.records if "cut off" in record.getMessage()] == [
        "An answer of the large model was cut off, and is kept as it came; allow more tokens (max_tokens)"
    ]


def test_it_is_told_in_a_stream():
    (*_, last) = data_shunt(unsure, app("max_tokens"), threshold=0.8).stream("a")
    assert last["large"].cut_off


async def test_it_is_told_when_awaited():
    assert (await data_shunt(unsure, app("length"), threshold=0.8).ainvoke("a"))["large"].cut_off


@pytest.mark.parametrize("ending", ["stop", "length"])
def test_the_output_of_an_app_with_a_shunt_stays_what_it_was(ending):
    def small(text):
        return Prediction(label="fine", confidence=0.1)

    without = app(ending).invoke({"input": "a"})
    assert shunt(app(ending), small, threshold=0.8, labels=["fine", "bad"]).invoke({"input": "a"}) == without
    told = shunt(app(ending), small, threshold=0.8, labels=["fine", "bad"], with_record=True).invoke({"input": "a"})
    assert told["answer"] == without
    assert told["large"].cut_off == (ending == "length")


@pytest.mark.parametrize(("ending", "label"), [("stop", "once upon"), ("length", None)])
def test_no_label_is_read_of_a_cut_answer(ending, label):
    def small(text):
        return Prediction(label="never", confidence=0.1)

    chain = shunt(app(ending), small, threshold=0.8, labels=["never", "once upon"], with_record=True)
    assert chain.invoke({"input": "a"})["answer_label"] == label


def test_only_the_last_call_counts():
    first = app("length")
    second = app("stop")
    record = data_shunt(unsure, first | (lambda text: {"input": text}) | second, threshold=0.8).invoke("a")
    assert not record["large"].cut_off
