from __future__ import annotations

import numpy as np
import pytest
from fakes import Recording
from langchain_core.messages import AIMessage
from scipy.special import softmax

from dsplus_chains import HintPromptBuilder, Prediction, data_shunt, tune_threshold
from dsplus_chains.prompting.hints import offered_labels
from dsplus_chains.tuning.tuned import TunedThreshold

LABELS = tuple(f"intent {number}" for number in range(30))


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    table = softmax(2.5 * rng.normal(size=(n, len(LABELS))), axis=1)
    truth = [LABELS[rng.choice(len(LABELS), p=row)] for row in table]
    said = [label if rng.random() < 0.85 else LABELS[rng.integers(30)] for label in truth]
    predictions = [
        Prediction(
            label=LABELS[int(row.argmax())],
            confidence=float(row.max()),
            probabilities=dict(zip(LABELS, row.tolist(), strict=True)),
        )
        for row in table
    ]
    return predictions, truth, said


def test_pruned_labels_hold_the_true_one_as_often_as_promised_and_are_few():
    tuned = tune_threshold(*rows(1500), objective="max_escalation", max_escalation=0.4, set_coverage=0.95)
    predictions, truth, _ = rows(8000, seed=1)
    deferred = [pair for pair in zip(predictions, truth, strict=True) if pair[0].confidence < tuned.threshold]
    offered = [offered_labels(row, LABELS, top_k=5, set_level=tuned.set_level) for row, _ in deferred]
    held = [label in labels for labels, (_, label) in zip(offered, deferred, strict=True)]
    assert np.mean(held) >= 0.93
    assert np.mean([len(labels) for labels in offered]) <= 0.5 * len(LABELS)
    assert "hold the true one in at least 95.0 %" in tuned.meaning


def test_the_level_survives_json_and_is_absent_unless_asked_for():
    tuned = tune_threshold(*rows(300), set_coverage=0.9)
    assert TunedThreshold.from_dict(tuned.to_dict()).set_level == tuned.set_level
    assert tune_threshold(*rows(300)).set_level is None
    with pytest.raises(ValueError, match=r"set_coverage=1\.5"):
        tune_threshold(*rows(300), set_coverage=1.5)


def test_a_level_that_prunes_nothing_says_why_and_what_it_takes():
    few = tune_threshold(*rows(60), objective="max_escalation", max_escalation=0.2, set_coverage=0.95)
    deferred = round(few.escalation_rate.value * few.n)
    assert 0 < deferred < 19
    assert few.set_level == 1.0
    assert f"takes at least 19 deferred tuning rows, and there are {deferred}" in few.meaning
    assert "pruned labels hold the true one" not in few.meaning
    plain = [Prediction(label="a", confidence=0.5)] * 40
    lost = tune_threshold(plain, ["b"] * 40, ["b"] * 40, set_coverage=0.9)
    assert "no label can be pruned: only all of them hold the true one in at least 90.0 %" in lost.meaning


def test_without_probabilities_nothing_is_pruned():
    plain = [Prediction(label="a", confidence=0.5)] * 40
    assert tune_threshold(plain, ["a", "b"] * 20, ["a", "b"] * 20, set_coverage=0.9).set_level == 1.0


def test_a_level_offers_as_many_labels_as_it_takes():
    unsure = Prediction(label="a", confidence=0.5, probabilities={"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05})
    offered = [offered_labels(unsure, "dcba", top_k=1, set_level=level) for level in (0.1, 0.8, 0.95, 1.0)]
    assert offered == [["a"], ["a", "b"], ["a", "b", "c"], ["d", "c", "b", "a"]]
    partial = Prediction(label="a", confidence=0.5, probabilities={"a": 0.5, "b": 0.3})
    assert offered_labels(partial, "dcba", top_k=1, set_level=0.6) == ["d", "c", "b", "a"]
    builder = HintPromptBuilder(labels=list("abcd"), instruction="Which?", hints="hard", set_level=0.8)
    prompt = builder.invoke({"input": "x", "prediction": unsure}).to_string()
    assert "- a\n- b\n- none of these" in prompt
    assert "- c" not in prompt


def test_none_of_these_asks_again_over_all_labels():
    unsure = Prediction(label="a", confidence=0.5, probabilities={"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05})
    prompts = []

    def model(prompt):
        prompts.append(prompt.to_string())
        return AIMessage("none of these" if "none of these" in prompts[-1] and "odd" in prompts[-1] else "d")

    chain = data_shunt(
        Recording(lambda _: unsure), Recording(model), labels=list("abcd"), instruction="Which?", threshold=None,
        hints="hard", set_level=0.8, reask=True,
    )  # fmt: skip
    even, odd = chain.batch(["even", "odd"])
    assert [(record["source"], record["answer"]) for record in (even, odd)] == [("large", "d")] * 2
    assert len(prompts) == 3, "only the one that found none of them fitting is asked again"
    assert ["- d" in prompt for prompt in prompts] == [False, False, True]


def test_none_of_these_falls_back_where_asking_again_is_not_wanted():
    unsure = Prediction(label="a", confidence=0.5, probabilities={"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05})
    model = Recording(lambda _: AIMessage("None of these."))
    chain = data_shunt(
        Recording(lambda _: unsure), model, labels=list("abcd"), instruction="Which?", threshold=None, hints="hard",
        set_level=0.8,
    )  # fmt: skip
    record = chain.invoke("even")
    assert (record["answer"], record["source"], model.sizes) == ("a", "fallback", [1])
    assert "NoneOfTheseError" in record["error"]


def test_a_coverage_out_of_range_is_refused_also_where_nothing_is_deferred():
    predictions, truth, said = rows(60)
    for bound in ({"max_escalation": 0.0}, {"max_escalation": 1.0}):
        with pytest.raises(ValueError, match="set_coverage=2"):
            tune_threshold(predictions, truth, said, objective="max_escalation", **bound, set_coverage=2)
