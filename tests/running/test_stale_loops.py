"""A connection of an event loop that is closed costs no answer, whichever way the large model is asked."""

from __future__ import annotations

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from dsplus_chains import Budget, ConfidenceBranch, Prediction, shunt


def plain():
    return RuntimeError("Event loop is closed")


def wrapped():
    error = ConnectionError("Connection error.")
    error.__cause__ = plain()
    return error


class Stale(Runnable):
    """An app whose first calls go over connections of a loop that is closed."""

    def __init__(self, error, times=2, after=0):
        self.error, self.left, self.after, self.opened = error, times, after, 0

    def invoke(self, input, config=None, **kwargs):
        raise NotImplementedError

    async def ainvoke(self, input, config=None, **kwargs):
        return "".join([chunk async for chunk in self.astream(input)])

    async def astream(self, input, config=None, **kwargs):
        self.opened += 1
        for number, piece in enumerate(["fine", " thanks"]):
            if self.left and number == self.after:
                self.left -= 1
                raise self.error()
            yield piece


def unsure(text):
    return Prediction(label="bad", confidence=0.5)


WAYS = {
    "branch": lambda app, **limits: RunnableLambda(
        lambda text: {"input": text, "prediction": unsure(text)}
    ) | ConfidenceBranch(large=app, threshold=0.9, **limits),
    "shunt": lambda app, **limits: shunt(
        app, unsure, threshold=0.9, labels=["bad"], output=str, with_record=True, **limits
    ),
}  # fmt: skip


@pytest.mark.parametrize("error", [plain, wrapped])
@pytest.mark.parametrize("limits", [{}, {"timeout": 30}, {"budget": Budget(max_tokens=10**9)}], ids=",".join)
@pytest.mark.parametrize("way", WAYS)
async def test_it_is_asked_again(way, limits, error):
    for call in ("ainvoke", "astream"):
        app = Stale(error)
        chain = WAYS[way](app, **limits)
        if call == "ainvoke":
            record = await chain.ainvoke("hello")
        else:
            chunks = [chunk async for chunk in chain.astream("hello")]
            record = sum(chunks[1:], chunks[0])
        assert (record["answer"], record["source"], app.opened) == ("fine thanks", "large", 3)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_out_cannot_be_taken_back(way):
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        [chunk async for chunk in WAYS[way](Stale(plain, after=1)).astream("hello")]


@pytest.mark.parametrize("way", WAYS)
async def test_another_error_is_asked_about_once(way):
    app = Stale(lambda: ConnectionError("down"))
    chunks = [chunk async for chunk in WAYS[way](app).astream("hello")]
    assert sum(chunks[1:], chunks[0])["source"] == "fallback"
    assert app.opened == 1
