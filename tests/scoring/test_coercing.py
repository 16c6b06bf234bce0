"""`as_scorer`: what is a scorer stays one, whatever config is bound to it. What predicts becomes one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from dsplus_chains import Prediction, RunnableScorer
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.coercing import as_scorer, model_hash_of

LABELS = ("spam", "ham")


class Ready(BaseScorer):
    """A scorer of its own kind."""

    labels: tuple[str, ...] = LABELS

    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [Prediction(label="spam", confidence=len(text) / 10) for text in texts]


class Heard(BaseCallbackHandler):
    """The tags of each run, by its name."""

    def __init__(self) -> None:
        self.tags: dict[str, list[str]] = {}

    def on_chain_start(self, _serialized: Any, _inputs: Any, *, name: str = "", tags: Any = None, **_rest: Any) -> None:
        self.tags.setdefault(name, []).extend(tags or [])


BOUND = {
    "bare": lambda scorer: scorer,
    "a config": lambda scorer: scorer.with_config(tags=["mine"]),
    "two configs": lambda scorer: scorer.with_config(tags=["mine"]).with_config(metadata={"a": 1}),
    "an argument": lambda scorer: scorer.bind(stop=["x"]),
    "a listener": lambda scorer: scorer.with_listeners(on_end=lambda run: None),
    "types": lambda scorer: scorer.with_types(input_type=str),
}


@pytest.mark.parametrize("input_key", [None, "text"])
@pytest.mark.parametrize("bound", BOUND.values(), ids=BOUND)
def test_a_scorer_stays_the_scorer_that_it_is(bound, input_key):
    first, inner = as_scorer(bound(Ready(input_key="own")), labels=None, input_key=input_key, on_error="defer")
    assert (type(inner), inner.on_error, inner.input_key) == (Ready, "defer", input_key or "own")
    record = first.invoke({inner.input_key: "spams"})
    assert (record["prediction"].label, record["prediction"].confidence) == ("spam", 0.5)
    assert "small_error" in first.invoke({inner.input_key: ""})
    heard = Heard()
    first.invoke("spams", {"callbacks": [heard]})
    assert [*heard.tags] == ["Ready"]
    assert ("mine" in heard.tags["Ready"]) == (getattr(first, "config", {}).get("tags") == ["mine"])


@pytest.mark.parametrize("input_key", [None, "input"])
def test_a_scorer_that_is_tried_again_is_tried_again_before_it_is_deferred(input_key):
    calls: list[str] = []

    def predicted(text: str) -> Prediction:
        calls.append(text)
        if len(calls) < 3:
            raise TimeoutError
        return Prediction(label="ham", confidence=0.9)

    scorer = RunnableScorer(run=predicted, labels=LABELS).with_retry(wait_exponential_jitter=False)
    first, inner = as_scorer(scorer.with_config(tags=["mine"]), labels=None, input_key=input_key, on_error="defer")
    assert (inner.labels, inner.on_error) == (LABELS, "defer")
    assert first.invoke("hi")["prediction"].label == "ham"
    assert len(calls) == 3


def test_what_predicts_becomes_a_scorer():
    for run in (lambda text: Prediction(label="ham"), RunnableLambda(lambda text: Prediction(label="ham"))):
        first, inner = as_scorer(run, labels=LABELS, input_key=None, on_error="raise")
        assert first is inner
        assert (type(inner), inner.labels, inner.input_key) == (RunnableScorer, LABELS, "input")
        assert first.invoke("hi")["prediction"].label == "ham"


def test_whose_answer_it_is_is_known_through_all_bindings():
    class Hashed(Ready):
        model_hash: str = "abc"

    scorer = Hashed()
    for one in (scorer, scorer.with_config(tags=["a"]), scorer.with_config(tags=["a"]).with_retry()):
        assert model_hash_of(one) == "abc"
    assert model_hash_of(Ready()) is None
