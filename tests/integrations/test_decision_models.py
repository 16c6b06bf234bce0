"""Small models as decision models of LangChain, and decision models as small models."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Recording

pytest.importorskip("langchain_core.decisions")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.decisions import BaseDecisionModel, Choice, ClassifierResponse, Noul, Score
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage

from dsplus_chains import (
    ConfidenceBranch,
    DecisionModelScorer,
    InvalidInputError,
    Prediction,
    ScorerDecisionModel,
    WiringError,
)

ROUTE = Choice(instructions="Which model?", criteria={"fast": "easy", "strong": None})
ROUTES = {"chat": "fast", "thanks": "fast", "code": "strong"}
KNOWN = {
    "hi": {"chat": 0.6, "thanks": 0.3, "code": 0.1},
    "sort it": {"chat": 0.2, "thanks": 0.0, "code": 0.8},
    "hm": {"chat": 0.4, "thanks": 0.3, "code": 0.3},
}


def view(text: str) -> Prediction:
    known = KNOWN[text]
    label = max(known, key=known.__getitem__)
    return Prediction(label=label, confidence=known[label], probabilities=known)


def asked(text: Any, question: Any = ROUTE) -> dict[str, Any]:
    return {"state": text, "questions": {"route": question}}


async def test_a_label_is_a_route_and_a_batch_is_one_call():
    small = Recording(view)
    model = ScorerDecisionModel(small, routes=ROUTES)
    requests = [asked(text) for text in KNOWN]
    for found in (model.batch(requests), await model.abatch(requests)):
        answers = [response.choices["route"] for response in found]
        assert [answer.choice for answer in answers] == ["fast", "strong", "fast"]
        assert [round(answer.confidence, 9) for answer in answers] == [0.9, 0.8, 0.7]
        assert answers[1].probabilities == {"fast": 0.2, "strong": 0.8}
    assert small.sizes == [3, 3]
    assert model.invoke(requests[0]) == (await model.ainvoke(requests[0])) == found[0]
    assert found[0].model == "dsplus_chains"


def test_what_is_less_sure_takes_another_route():
    model = ScorerDecisionModel(view, routes=ROUTES, threshold=0.5, otherwise="strong")
    answers = [response.choices["route"] for response in model.batch([asked(text) for text in KNOWN])]
    assert [(answer.choice, round(answer.confidence, 9)) for answer in answers] == [
        ("fast", 0.9),
        ("strong", 0.8),
        ("strong", 0.3),
    ]
    unknown = ScorerDecisionModel(lambda text: Prediction(label=None), threshold=0.5, otherwise="strong")
    assert unknown.invoke(asked("x")).choices["route"].choice == "strong"


def test_a_yes_or_no_is_a_probability_and_messages_are_read():
    def small(text: str) -> Prediction:
        return Prediction(label="!" in text, confidence=0.75)

    model = ScorerDecisionModel(small)
    urgent = Noul(instructions="Urgent?")
    states = ["now!", "later", HumanMessage("now!"), [HumanMessage("x"), AIMessage("y"), HumanMessage("later")]]
    found = [response.nouls["route"].noul for response in model.batch([asked(state, urgent) for state in states])]
    assert found == [0.75, 0.25, 0.75, 0.25]


WRONG = {
    "no route": (ScorerDecisionModel(view, routes={"chat": "fast", "thanks": "fast"}), asked("hi"), "'code'"),
    "no such choice": (ScorerDecisionModel(view), asked("hi"), "'chat'"),
    "no such way out": (ScorerDecisionModel(view, routes=ROUTES, threshold=0.9, otherwise="x"), asked("hm"), "'x'"),
    "a scale": (ScorerDecisionModel(view), asked("hi", Score(instructions="?", criteria=["a", "b"])), "'score'"),
    "a yes or no of names": (ScorerDecisionModel(view), asked("hi", Noul(instructions="?")), "'noul'"),
}


@pytest.mark.parametrize(("model", "request_", "told"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_told(model, request_, told):
    with pytest.raises(WiringError, match=told):
        model.invoke(request_)


def test_one_bad_state_fails_alone_and_settings_are_checked():
    model = ScorerDecisionModel(view, routes=ROUTES)
    bad, good = model.batch([asked(7), asked("hi")], return_exceptions=True)
    assert isinstance(bad, InvalidInputError)
    assert good.choices["route"].choice == "fast"
    with pytest.raises(ValueError, match="otherwise"):
        ScorerDecisionModel(view, threshold=0.9)
    with pytest.raises(ValueError, match="treshold"):
        ScorerDecisionModel(view, treshold=0.9)


def test_the_run_names_its_provider():
    seen: list[Any] = []

    class Listening(BaseCallbackHandler):
        def on_chain_start(self, _serialized: Any, _inputs: Any, *, metadata: Any = None, **_kwargs: Any) -> None:
            seen.append((metadata or {}).get("ls_provider"))

    ScorerDecisionModel(view, routes=ROUTES).batch([asked("hi")], {"callbacks": [Listening()]})
    assert seen[0] == "dsplus_chains"


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_it_drives_the_router_of_an_agent():
    agents = pytest.importorskip("langchain.agents")
    middleware = pytest.importorskip("langchain.agents.middleware")
    models = {name: FakeListChatModel(responses=[name]) for name in ("fast", "strong")}
    router = middleware.ModelRouterMiddleware(
        choices={name: middleware.ModelChoice(model=model, criteria=name) for name, model in models.items()},
        instructions="Which model?",
        classifier=ScorerDecisionModel(view, routes=ROUTES, threshold=0.5, otherwise="strong"),
    )
    agent = agents.create_agent(models["fast"], middleware=[router])
    said = [agent.invoke({"messages": [("human", text)]})["messages"][-1].text for text in KNOWN]
    assert said == ["fast", "strong", "strong"]
    assert (await agent.ainvoke({"messages": [("human", "hm")]}))["messages"][-1].text == "strong"


class Jury(BaseDecisionModel):
    """A decision model that is surer of longer texts."""

    model: str = "jury"

    @property
    def _provider(self) -> str:
        return "jury"

    def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
        sure = min(1.0, len(state) / 10)
        answers = {}
        for name, question in questions.items():
            if question.type == "noul":
                answers[name] = {"type": "noul", "noul": sure}
            elif question.type == "score":
                levels = {"legend": {0: "a", 1: "b"}, "probabilities": {0: 1.0, 1: 0.0}}
                answers[name] = {"type": "score", "score": 0.0, "confidence": 1.0, **levels}
            else:
                first, second = question.criteria
                shares = {first: sure, second: 1 - sure}
                answers[name] = {"type": "choice", "choice": first, "probabilities": shares, "confidence": sure}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})


async def test_a_decision_model_is_a_small_model():
    tone = Choice(instructions="Which tone?", criteria={"kind": None, "angry": None})
    scorer = DecisionModelScorer(Jury(), question=tone)
    assert scorer.labels == ("kind", "angry")
    chain = scorer | ConfidenceBranch(large=lambda record: "angry", threshold=0.5)
    for records in (chain.batch(["a", "abcdefgh"]), await chain.abatch(["a", "abcdefgh"])):
        assert [(one["answer"], one["source"]) for one in records] == [("angry", "large"), ("kind", "small")]
    assert records[1]["prediction"].probabilities == pytest.approx({"kind": 0.8, "angry": 0.2})
    yes_or_no = DecisionModelScorer(Jury(), question=Noul(instructions="Kind?"))
    assert yes_or_no.labels == (True, False)
    found = [record["prediction"] for record in yes_or_no.batch(["ab", "abcde"])]
    assert [(one.label, one.confidence) for one in found] == [(False, 0.8), (True, 0.5)]
    with pytest.raises(WiringError, match="Choice or a Noul"):
        DecisionModelScorer(Jury(), question=Score(instructions="?", criteria=["a", "b"])).invoke("x")
