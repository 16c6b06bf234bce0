"""Rows of a batch that ask the same are asked about once."""

from __future__ import annotations

import pytest
from fakes import CountingChat, Recording
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda

from dsplus_chains import (
    Budget,
    CircuitBreaker,
    ConfidenceBranch,
    HintPromptBuilder,
    LabelParser,
    Prediction,
    data_shunt,
    shunt,
)

LABELS = ["positive", "negative"]
TEXTS = ["so so", "well", "so so", "so so", "well"]


def unsure(text):
    return Prediction(label="positive", confidence=0.5)


def chat(function=lambda text: "negative" if "well" in text else "positive"):
    return CountingChat(function=function)


def chain_of(large, **settings):
    return data_shunt(unsure, large, labels=LABELS, instruction="Which?", threshold=0.9, **settings)


async def outputs(chain, inputs, **settings):
    """What `batch` gives; `abatch` has to give the same."""
    called = chain.batch(inputs, **settings)
    awaited = await chain.abatch(inputs, **settings)
    assert [repr(one) for one in called] == [repr(one) for one in awaited]
    return called


@pytest.mark.parametrize("limits", [{}, {"timeout": 60.0}, {"breaker": CircuitBreaker()}])
async def test_equal_rows_cost_one_call_and_all_get_its_answer(limits):
    large = chat()
    records = await outputs(chain_of(large, **limits), TEXTS)
    assert [record["answer"] for record in records] == ["positive", "negative", "positive", "positive", "negative"]
    assert [record["source"] for record in records] == ["large"] * 5
    assert len(large.asked) == 2 * 2  # called and awaited
    tokens = [record["large"].usage["total_tokens"] for record in records]
    assert [spent > 0 for spent in tokens] == [True, True, False, False, False]
    assert [record["input"] for record in records] == TEXTS


async def test_it_can_be_turned_off():
    large = chat()
    await outputs(chain_of(large, ask_once=False), TEXTS)
    assert len(large.asked) == 2 * len(TEXTS)


@pytest.mark.parametrize(
    ("arm", "calls"),
    [
        (lambda model: HintPromptBuilder(instruction="Which?", labels=LABELS) | model | LabelParser(labels=LABELS), 2),
        (
            lambda model: (lambda record: record["input"]) | model | LabelParser(labels=LABELS).with_config(tags=["x"]),
            2,
        ),
        (lambda model: ChatPromptTemplate.from_template("{input}") | model, 5),  # any app may have side effects
    ],
)
def test_by_itself_only_an_arm_that_reads_a_label_is_asked_once(arm, calls):
    model = chat()
    arm = RunnableLambda(lambda record: record) | arm(model)
    branch = ConfidenceBranch(large=arm, threshold=0.9, wants="record")
    branch.batch([{"input": text, "prediction": unsure(text)} for text in TEXTS])
    assert len(model.asked) == calls
    model.asked.clear()
    asked_once = branch.model_copy(update={"ask_once": True})
    asked_once.batch([{"input": text, "prediction": unsure(text)} for text in TEXTS])
    assert len(model.asked) == 2


async def test_a_failure_is_the_failure_of_all_that_ask_the_same():
    def fail_once(text):
        if "well" in text:
            raise ConnectionError("down")
        return "positive"

    large = chat(fail_once)
    records = await outputs(chain_of(large), TEXTS)
    assert [record["source"] for record in records] == ["large", "fallback", "large", "large", "fallback"]
    assert records[4]["error"] == records[1]["error"] == "ConnectionError: down"
    assert len(large.asked) == 2 * 2


def test_a_budget_counts_what_was_asked_and_a_refusal_counts_for_all_that_ask_the_same():
    large = chat()
    spent = Budget(max_tokens=1_000_000)
    chain_of(large, budget=spent).batch(TEXTS)
    assert len(large.asked) == 2
    report = spent.report()
    assert report.by_arm["large"].rows == 5
    assert sum(model.calls for model in report.by_model.values()) == 2
    none = Budget(max_tokens=1)
    records = chain_of(large, budget=none).batch(TEXTS)
    assert [record["source"] for record in records] == ["fallback"] * 5
    assert [records[row]["error"] for row in (2, 3, 4)] == [records[row]["error"] for row in (0, 0, 1)]
    assert len(large.asked) == 2


def test_other_settings_are_another_question():
    large = chat().configurable_fields(function=ConfigurableField(id="says"))
    chain = chain_of(large)
    configs = [{"configurable": {"says": (lambda _, word=word: word)}} for word in LABELS]
    assert [record["answer"] for record in chain.batch(["so so"] * 2, configs)] == LABELS


def test_an_app_is_asked_once_only_if_that_is_asked_for():
    large = Recording(lambda _: AIMessage("positive"))
    app = large | StrOutputParser()
    chats = [[HumanMessage(text)] for text in TEXTS]
    assert shunt(app, unsure, threshold=0.9, labels=LABELS).batch(chats) == ["positive"] * 5
    assert large.inputs == chats
    large.inputs.clear()
    assert shunt(app, unsure, threshold=0.9, labels=LABELS, ask_once=True).batch(chats) == ["positive"] * 5
    assert large.inputs == chats[:2]
