from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough

from dsplus_chains.chain import data_shunt
from dsplus_chains.prompting.explainer import OverrideExplainer
from dsplus_chains.running.prompted import as_prompted
from dsplus_chains.schema import Prediction
from dsplus_chains.scoring.chat_model import ChatModelScorer

MODEL = FakeListChatModel(responses=["positive"])
PROMPT = ChatPromptTemplate.from_template("Sentiment of {review}?")
APPS = [
    PROMPT | MODEL,
    PROMPT | MODEL.with_retry(),
    (PROMPT | MODEL).with_fallbacks([MODEL]),
    {"review": RunnablePassthrough()} | PROMPT | MODEL,
    RunnablePassthrough() | PROMPT | MODEL,
]


@pytest.mark.parametrize("app", APPS)
def test_an_app_is_no_large_model_where_the_prompt_is_ours(app):
    with pytest.raises(ValueError, match="begins with a prompt of its own"):
        data_shunt(
            lambda text: Prediction(label="negative", confidence=0.5),
            app,
            labels=["positive", "negative"],
            instruction="Which?",
            threshold=0.9,
        )


def test_whoever_else_asks_with_a_prompt_of_ours_takes_no_app():
    with pytest.raises(ValueError, match="begins with a prompt of its own"):
        ChatModelScorer(chat_model=APPS[0], prompt=PROMPT, confidence="logprobs")
    with pytest.raises(ValueError, match="begins with a prompt of its own"):
        OverrideExplainer(model=APPS[0], labels=["a", "b"], instruction="Which?")


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        MODEL.bind(stop=["."]),
        MODEL.with_retry(),
        MODEL.with_fallbacks([PROMPT | MODEL]),
        MODEL.configurable_alternatives(ConfigurableField(id="llm"), default_key="a", b=MODEL),
        RunnableParallel(raw=MODEL) | (lambda said: said["raw"]),  # as with_structured_output(include_raw=True)
        RunnableLambda(lambda prompt: prompt.to_string()) | MODEL,
        {"review": lambda prompt: prompt.to_string()} | PROMPT | MODEL,
        lambda prompt: "positive",
    ],
)
def test_what_answers_our_prompt_is_taken(model):
    asked = as_prompted(model).invoke(ChatPromptTemplate.from_template("Which?").invoke({}))
    assert getattr(asked, "content", asked) == "positive"
