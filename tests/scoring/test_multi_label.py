"""`MultiLabelScorer`: several tags a text, by heads that share the vectors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import StructuredChat, TinyEncoder
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

from dsplus_chains import MultiLabelScorer, SmallModelScorer, TrainingDataError, shunt
from dsplus_chains.calibration import JointConfidence

WORDS = {"billing": "refund money bill", "urgent": "now today quick", "praise": "thanks great lovely"}


def examples(n: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    draws = np.random.default_rng(seed)
    tags = [[tag for tag in WORDS if draws.random() < 0.4] for _ in range(n)]
    texts = [
        " ".join([*(draws.choice(WORDS[tag].split()) for tag in has), "order", f"n{draws.integers(9999)}"])
        for has in tags
    ]
    return texts, tags


@pytest.fixture(scope="module")
def scorer():
    texts, tags = examples(160)
    return MultiLabelScorer.fit(texts, tags, encoder=TinyEncoder(dimensions=1024), model="linear")


def test_each_tag_is_found_and_a_text_may_have_none(scorer):
    texts, tags = examples(60, seed=1)
    found = [record["prediction"].value for record in scorer.batch(texts)]
    assert np.mean([{*one} == {*other} for one, other in zip(found, tags, strict=True)]) > 0.9
    assert scorer.invoke("order n7")["prediction"].value == []


def test_a_head_is_the_small_model_that_a_tag_alone_would_have():
    texts, tags = examples(80)
    both = MultiLabelScorer.fit(texts, tags, encoder=TinyEncoder(dimensions=1024), model="linear")
    tag = next(tag for tag in WORDS if tag not in tags[0])  # the order of the classes moves the folds
    has = [tag in given for given in tags]
    alone = SmallModelScorer.fit(texts, has, encoder=TinyEncoder(dimensions=1024), model="linear")
    for one, other in zip(both.batch(texts[:9]), alone.batch(texts[:9]), strict=True):
        head, single = one["prediction"].by_tag[tag], other["prediction"]
        assert head.label == single.label
        assert head.probabilities[True] == pytest.approx(single.probabilities[True], abs=1e-6)
        assert one["prediction"].probabilities[tag] == head.probabilities[True]


def test_fitting_and_a_batch_are_one_encode_each():
    texts, tags = examples(80)
    encoder = TinyEncoder(dimensions=1024)
    scorer = MultiLabelScorer.fit(texts, tags, encoder=encoder, model="linear")
    assert encoder.calls == [80]
    scorer.batch(texts[:7])
    assert encoder.calls == [80, 7]


WRONG = {
    "no tag at all": (["a", "b"], [[], []], "any tag"),
    "a text for a list": (["a", "b"], ["x", "y"], "a list of tags"),
    "no text as a tag": (["a", "b"], [[7], []], "7"),
    "a rare tag": (["a", "b", "c"], [["x"], [], []], "'x'"),
    "a tag that all have": (["a", "b", "c"], [["x"], ["x"], ["x"]], "'x'"),
    "lengths": (["a", "b", "c"], [["x"], ["x"], [], []], "3 texts"),
    "an empty text": (["a", "b", "", "d"], [["x"], ["x"], [], []], "empty"),
}


@pytest.mark.parametrize(("texts", "tags", "told"), WRONG.values(), ids=WRONG)
def test_examples_that_cannot_train_are_named(texts, tags, told):
    with pytest.raises(TrainingDataError, match=told):
        MultiLabelScorer.fit(texts, tags, encoder=TinyEncoder(dimensions=1024))


# --- all tags at once -------------------------------------------------------------------------------------------------


def test_the_confidence_is_that_all_tags_are_right():
    draws = np.random.default_rng(0)
    hard = draws.random(4000) < 0.3  # errors come together
    sure = np.where(hard, 0.6, 0.97)[:, None] * np.ones(3)
    right = np.where(hard, draws.random(4000) < 0.5, draws.random(4000) < 0.96)
    joint = JointConfidence.fit(sure, right)
    assert joint.apply([[0.97] * 3])[0] == pytest.approx(0.96, abs=0.02)
    assert joint.apply([[0.6] * 3])[0] == pytest.approx(0.5, abs=0.04)  # the product is 0.216


def test_it_is_platt_scaling_of_the_product():
    draws = np.random.default_rng(1)
    sure = draws.uniform(0.5, 1, (3000, 2))
    right = draws.random(3000) < sure.prod(axis=1) ** 0.5
    product = sure.prod(axis=1)
    odds = np.log(product / (1 - product))[:, None]
    oracle = LogisticRegression(C=1e6).fit(odds, right).predict_proba(odds)[:, 1]
    assert np.abs(JointConfidence.fit(sure, right).apply(sure) - oracle).max() < 0.03


def test_it_is_unknown_with_few_examples_and_told_with_many(scorer):
    texts, tags = examples(30)
    few = MultiLabelScorer.fit(texts, tags, encoder=TinyEncoder(dimensions=1024))
    assert few.invoke("now")["prediction"].confidence is None
    assert 0 < scorer.invoke("now")["prediction"].confidence <= 1
    with pytest.raises(ValueError, match="confidences"):
        JointConfidence.fit([0.5, 0.7], [True, False])


# --- fields of an app -------------------------------------------------------------------------------------------------


class Flags(BaseModel):
    billing: bool
    urgent: bool
    note: str


def test_an_apps_boolean_fields_are_answered_with_one_encode(scorer):
    model = StructuredChat(function=lambda _: "seen")
    app = ChatPromptTemplate.from_template("{text}") | model.with_structured_output(Flags)
    fields = {name: held for name, held in scorer.fields.items() if name != "praise"}
    shunted = shunt(app, fields=fields, threshold=0.6)
    scorer.encoder.calls.clear()
    answers = shunted.batch([{"text": "refund now order n7"}, {"text": "money order n7"}])
    assert answers == [Flags(billing=True, urgent=True, note="seen"), Flags(billing=True, urgent=False, note="seen")]
    assert scorer.encoder.calls == [2]
    with pytest.raises(ValueError, match="tags"):
        shunt(app, fields={"note": scorer}, threshold=0.6)


def test_tags_keep_their_order_in_every_process(tmp_path):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from fakes import TinyEncoder
from dsplus_chains import MultiLabelScorer
tags = [["zebra", "apple", "mango"], ["kiwi"], []] * 4
print(*MultiLabelScorer.fit(["a", "b", "c"] * 4, tags, encoder=TinyEncoder(), model="linear").tags)
"""
    said = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(Path(__file__).parents[1])],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {"zebra apple mango kiwi\n"}
