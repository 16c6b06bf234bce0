from __future__ import annotations

import operator
from functools import reduce

import pytest
from fakes import Recording
from langchain_core.messages import AIMessage

from dsplus_chains import InvalidInputError, Prediction, RunnableScorer, SmallModelScorer, TrackRecord, data_shunt

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
