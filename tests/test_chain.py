from __future__ import annotations

import asyncio
import inspect
import operator
from functools import reduce

import pytest
from fakes import Recording
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from dsplus_chains import (
    AnswerFusion,
    InvalidInputError,
    LabelTask,
    Prediction,
    RunnableScorer,
    SmallModelScorer,
    TrackRecord,
    VerifiedScorer,
    WiringError,
    data_shunt,
)
from dsplus_chains.verifying import Verdict

LABELS = ["positive", "negative"]


def small_model(sure_of):
    """Sure of texts with a word in them, and of nothing else."""
    return Recording(lambda text: Prediction(label="positive", confidence=0.95 if sure_of in text else 0.6))


def tiers(scorers, thresholds, **more):
    large = Recording(lambda _: AIMessage("negative"))
    chain = data_shunt(scorers, large, labels=LABELS, instruction="Which?", threshold=thresholds, **more)
    return chain, large


def test_each_tier_is_asked_about_what_those_before_it_were_not_sure_of():
    first, second = small_model("good"), small_model("fine")
    chain, large = tiers({"small": first, "medium": second}, [0.9, 0.9])
    records = chain.batch(["good", "fine", "so so", "good too"])
    assert [record["source"] for record in records] == ["small", "medium", "large", "small"]
    assert [record["answer"] for record in records] == ["positive", "positive", "negative", "positive"]
    assert (first.sizes, second.sizes, large.sizes) == ([4], [2], [1])
    assert [len(record.get("tiers", ())) for record in records] == [0, 1, 1, 0]


def test_a_list_names_its_tiers_itself_and_three_nest():
    chain, _ = tiers([small_model("a"), small_model("b"), small_model("c")], [0.9, 0.9, 0.9])
    assert [record["source"] for record in chain.batch(["a", "b", "c", "d"])] == [
        "small",
        "small-2",
        "small-3",
        "large",
    ]


async def test_streams_and_async_agree_with_a_batch():
    chain, _ = tiers([small_model("good"), small_model("fine")], [0.9, 0.9])
    for text in ("good", "fine", "so so"):
        expected = chain.invoke(text)
        assert await chain.ainvoke(text) == expected
        assert dict(reduce(operator.add, chain.stream(text))) == expected


def test_a_dict_of_ones_own_reaches_the_last_tier():
    chain, _ = tiers([small_model("good"), small_model("fine")], [0.9, 0.9], input_key="review")
    record = chain.invoke({"review": "fine", "id": 7})
    assert (record["source"], record["id"], record["input"]) == ("small-2", 7, "fine")


def test_a_failing_large_model_leaves_the_last_tiers_answer(scorer):
    def fail(_):
        raise TimeoutError("no answer")

    chain = data_shunt([scorer, scorer], fail, instruction="Which?", threshold=[None, None])
    record = chain.invoke("good phone")
    assert (record["answer"], record["source"]) == (record["prediction"].label, "fallback")
    assert isinstance(scorer, SmallModelScorer)


@pytest.mark.parametrize(
    ("n", "threshold", "message"),
    [(2, 0.9, "threshold=0.9"), (2, [0.9], "1 thresholds"), (1, [0.9], "1 scorers"), (0, [], "0 scorers")],
)
def test_tiers_want_a_threshold_each(n, threshold, message):
    with pytest.raises(ValueError, match=message):
        tiers([small_model("x")] * n, threshold)


@pytest.mark.parametrize("name", ["large", "fused", "fallback"])
def test_a_tier_is_not_called_as_who_else_may_answer(name):
    with pytest.raises(ValueError, match=f"small model called '{name}'.*rename it"):
        tiers({"small": small_model("x"), name: small_model("y")}, [0.9, 0.9])


def unsure_of(text):
    return Prediction(label="positive", confidence=0.6, probabilities={"positive": 0.6, "negative": 0.4})


def shunt(answer, small=unsure_of, **settings):
    large = Recording(answer)
    return data_shunt(small, large, labels=LABELS, instruction="Which?", threshold=None, **settings), large


def test_an_answer_that_is_no_label_is_asked_for_once_more_and_then_falls_back():
    chain, large = shunt(lambda prompt: AIMessage("maybe"))
    assert [record["source"] for record in chain.batch(["a", "b"])] == ["fallback"] * 2
    assert large.sizes == [2, 2]
    chain, large = shunt(lambda prompt: AIMessage("maybe"), retries=0)
    assert chain.invoke("a")["large"].value == "maybe"
    assert large.sizes == [1]
    chain, large = shunt(lambda prompt: AIMessage("negative" if len(prompt.messages) > 2 else "maybe"))
    assert (chain.invoke("a")["answer"], large.sizes) == ("negative", [1, 1])


def test_none_of_these_is_asked_again_over_all_labels_where_that_is_wanted():
    def answer(prompt):
        return AIMessage("none of these" if "none of these" in prompt.to_string() else "negative")

    chain, large = shunt(answer, hints="hard", top_k=1)
    assert (chain.invoke("a")["source"], large.sizes) == ("fallback", [1])
    chain, large = shunt(answer, hints="hard", top_k=1, reask=True)
    assert [record["answer"] for record in chain.batch(["a", "b"])] == ["negative"] * 2
    assert large.sizes == [2, 2]
    assert "- positive: 60 %" in large.inputs[-1].to_string()


def test_none_of_these_is_asked_again_like_any_answer_where_nothing_was_pruned():
    chain, large = shunt(lambda prompt: AIMessage("none of these"), hints="hard", top_k=2, reask=True)
    record = chain.invoke("a")
    assert (record["source"], large.sizes) == ("fallback", [1, 1])
    assert "not offered" in record["error"]
    chain, large = shunt(
        lambda prompt: AIMessage("negative" if len(prompt.messages) > 2 else "none of these"), hints="hard"
    )
    assert (chain.invoke("a")["answer"], large.sizes) == ("negative", [1, 1])


def test_strong_labels_are_not_offered_and_have_to_be_known():
    chain, large = shunt(lambda prompt: AIMessage("negative"), hints="hard", strong_labels=["positive"])
    assert chain.invoke("a")["answer"] == "negative"
    assert "- positive" not in large.inputs[0].to_string()
    with pytest.raises(ValueError, match="not among the labels"):
        shunt(lambda prompt: "negative", hints="hard", strong_labels=["neutral"])


def true_for(text):
    return Prediction(label=True, confidence=0.95)


@pytest.mark.parametrize(
    ("scorer", "settings", "message"),
    [
        (RunnableScorer(run=true_for, labels=[False, True]), {}, r"the scorer's labels \[False, True\]"),
        (true_for, {"threshold": {True: 0.5}}, r"the threshold's labels \[True\]"),
        (true_for, {"descriptions": {True: "yes"}}, r"descriptions of \[True\]"),
        (true_for, {"aliases": {"yep": True}}, "aliases={'yep': True}"),
        (true_for, {"hints": "hard", "strong_labels": [True]}, r"strong_labels=\[True\]"),
    ],
)
def test_true_is_not_the_label_1(scorer, settings, message):
    with pytest.raises(ValueError, match=message):
        data_shunt(scorer, lambda _: "1", labels=[0, 1], instruction="?", **{"threshold": 0.5, **settings})


def test_a_small_model_that_says_true_for_1_is_refused():
    chain = data_shunt(true_for, lambda _: "1", labels=[0, 1], instruction="?", threshold=0.5)
    with pytest.raises(InvalidInputError, match="Got the label True from the small model"):
        chain.invoke("x")


def test_the_scorers_track_record_is_told_unless_another_or_none_is_given(encoder):
    texts = [f"{word} thing number {i}" for i in range(60) for word in ("good", "bad")]
    scorer = SmallModelScorer.fit(texts, ["positive", "negative"] * 60, encoder=encoder, model="linear")
    own = TrackRecord(confidences=(0.5,), shares=(0.31,))
    for settings, said in (
        ({}, "When it is this sure, it is right"),
        ({"track_record": own}, "it is right 31 % of the time"),
        ({"track_record": None}, "It was not sure enough to answer alone"),
    ):
        chain, large = shunt(lambda prompt: AIMessage("negative"), scorer, **settings)
        chain.invoke("so so")
        assert said in large.inputs[0].to_string()


def test_tiers_take_their_labels_from_whichever_names_them(scorer):
    chain = data_shunt([scorer, unsure_of], lambda _: "negative", instruction="Which?", threshold=[None, None])
    assert chain.invoke("good phone")["source"] == "large"
    with pytest.raises(ValueError, match="Got no labels"):
        data_shunt([unsure_of, unsure_of], lambda _: "negative", instruction="Which?", threshold=[None, None])


def even(record):
    is_even = record["candidate"] % 2 == 0
    return Verdict(score=float(is_even), report="" if is_even else "it is odd")


VERIFIED = VerifiedScorer(generators={"length": lambda record: len(record["input"])}, verifier=even)
"""Answers with a text's length, which is no label, and is sure of even ones."""


def test_without_labels_the_checked_value_counts_where_it_is_sure_and_the_apps_text_elsewhere():
    app = Recording(lambda text: AIMessage(f"{len(text)} letters"))
    chain = data_shunt(VERIFIED, app, threshold=0.8)
    records = chain.batch(["ham", "spam", "ham"])
    assert [record["answer"] for record in records] == ["3 letters", 4, "3 letters"]
    assert [record["source"] for record in records] == ["large", "small", "large"]
    assert app.inputs == ["ham", "ham"]  # an app may have side effects
    once = data_shunt(VERIFIED, app, threshold=0.8, ask_once=True)
    assert [record["answer"] for record in once.batch(["ham", "ham"])] == ["3 letters"] * 2
    assert len(app.inputs) == 3


def test_an_app_gets_what_the_chain_was_called_with_and_its_prompt_the_failed_attempt():
    app = Recording(lambda value: "three")
    value = {"word": "ham", "id": 7}
    record = data_shunt(VERIFIED, app, threshold=0.8, input_key="word").invoke(value)
    assert (record["answer"], record["id"]) == ("three", 7)
    assert app.inputs == [value]
    model = Recording(lambda prompt: AIMessage("three"))
    prompt = ChatPromptTemplate([("human", "How long is {input}?\n{attempt}")])
    assert data_shunt(VERIFIED, prompt | model, threshold=0.8).invoke("ham")["answer"] == "three"
    assert "it is odd" in model.inputs[0].to_string()


def test_a_parser_of_ones_own_reads_the_apps_answers():
    chain = data_shunt(VERIFIED, lambda _: AIMessage('{"n": 3}'), threshold=0.8, parser=JsonOutputParser())
    assert chain.pick("answer").batch(["ham", "spam"]) == [{"n": 3}, 4]


async def streamed(chain, value):
    return [chunk async for chunk in chain.astream(value)]


@pytest.mark.parametrize("way", ["invoke", "batch", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("answer", [{"n": 3}, [3], Verdict(score=1.0)])
def test_without_labels_an_app_of_other_answers_is_told_to_give_a_parser(answer, way):
    chain = data_shunt(VERIFIED, lambda _: answer, threshold=0.8)
    calls = {
        "invoke": lambda: chain.invoke("ham"),
        "batch": lambda: chain.batch(["spam", "ham"]),
        "stream": lambda: list(chain.stream("ham")),
        "ainvoke": lambda: asyncio.run(chain.ainvoke("ham")),
        "astream": lambda: asyncio.run(streamed(chain, "ham")),
    }
    with pytest.raises(WiringError, match=r"Got .* from the app but expected a text.*RunnablePassthrough\(\)"):
        calls[way]()
    taken = data_shunt(VERIFIED, lambda _: answer, threshold=0.8, parser=RunnablePassthrough())
    assert taken.invoke("ham")["answer"] == answer


def test_without_labels_an_app_that_answers_nothing_has_failed():
    record = data_shunt(VERIFIED, lambda _: None, threshold=0.8).invoke("ham")
    assert (record["answer"], record["source"], record["error"][:15]) == (3, "fallback", "EmptyAnswerErro")


async def test_without_labels_the_apps_text_still_comes_token_by_token():
    app = ChatPromptTemplate.from_template("{input}") | GenericFakeChatModel(messages=iter([AIMessage("a b")] * 2))
    chain = data_shunt(VERIFIED, app, threshold=0.8).pick("answer")
    assert list(chain.stream("ham")) == ["a", " ", "b"]
    assert await streamed(chain, "ham") == ["a", " ", "b"]


def test_without_labels_an_app_that_fails_leaves_the_small_models_value_and_a_stream_agrees():
    def fail(_):
        raise TimeoutError("no answer")

    record = data_shunt(VERIFIED, fail, threshold=0.8).invoke("ham")
    assert (record["answer"], record["source"]) == (3, "fallback")
    chain = data_shunt(VERIFIED, lambda text: AIMessage(text * 2), threshold=0.8)
    for text in ("ham", "spam"):
        assert dict(reduce(operator.add, chain.stream(text))) == chain.invoke(text)


def test_without_labels_there_are_tiers_too():
    other = VerifiedScorer(generators={"half": lambda record: len(record["input"]) - 1}, verifier=even)
    app = Recording(lambda text: "long")
    records = data_shunt([VERIFIED, other], app, threshold=[0.8, None]).batch(["spam", "ham"])
    assert [(record["answer"], record["source"]) for record in records] == [(4, "small"), ("long", "large")]
    records = data_shunt({"a": VERIFIED, "b": other}, app, threshold=[0.8, 0.8]).batch(["spam", "ham"])
    assert [(record["answer"], record["source"]) for record in records] == [(4, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"hints": "soft"}, "hints"),
        ({"instruction": "Which?", "top_k": 2}, "instruction, top_k"),
        ({"strong_labels": ["a"]}, "strong_labels"),
        ({"track_record": None}, "track_record"),
        ({"structured": False}, "structured"),
        ({"threshold": {"a": 0.5}}, "a threshold by label"),
    ],
)
def test_without_labels_what_is_about_labels_is_refused(settings, told):
    with pytest.raises(ValueError, match=rf"Got no labels.* but got {told}; give labels"):
        data_shunt(VERIFIED, lambda _: "large", **{"threshold": 0.8, **settings})


def test_without_labels_a_fusion_is_refused():
    fusion = AnswerFusion.fit([unsure_of("a")] * 40, LABELS * 20, LABELS * 20)
    with pytest.raises(ValueError, match="but got fusion"):
        data_shunt(VERIFIED, lambda _: "large", threshold=0.8, fusion=fusion)


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: model.with_retry()])
def test_without_labels_a_bare_model_is_refused(wrap):
    with pytest.raises(WiringError, match=r"Got no labels, and FakeListChatModel.*prompt \| model"):
        data_shunt(VERIFIED, wrap(FakeListChatModel(responses=["a"])), threshold=0.8)


def test_with_labels_a_parser_is_refused():
    with pytest.raises(ValueError, match="Got a parser, but labels are read"):
        shunt(lambda prompt: AIMessage("negative"), parser=JsonOutputParser())


def test_data_shunt_takes_every_setting_of_a_task_but_those_that_the_task_names():
    missing = set(LabelTask.model_fields) - set(inspect.signature(data_shunt).parameters)
    assert missing == {"rationale", "examples"}
    assert "except for `rationale` and `examples`" in " ".join(LabelTask.__doc__.split())
