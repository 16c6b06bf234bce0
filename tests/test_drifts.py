"""Rules that once stood in several places, and said different things there."""

from __future__ import annotations

import pytest
from fakes import Recording

from dsplus_chains import (
    ChatModelScorer,
    ConfidenceBranch,
    HintPromptBuilder,
    InvalidInputError,
    Prediction,
    RunnableScorer,
    strong_labels,
    tune_threshold,
)
from dsplus_chains.gating import RecordedAnswer, replay
from dsplus_chains.running.flow import BatchSizeError
from dsplus_chains.schema import is_kept, what_came

LABELS = ["positive", "negative"]


class TimesOut(Recording):
    def batch(self, *args, **kwargs):
        raise TimeoutError("no answer")

    async def abatch(self, *args, **kwargs):
        raise TimeoutError("no answer")


class OneTooFew(Recording):
    def batch(self, *args, **kwargs):
        return super().batch(*args, **kwargs)[:-1]

    async def abatch(self, *args, **kwargs):
        return (await super().abatch(*args, **kwargs))[:-1]


def scorers(kind):
    prompt = HintPromptBuilder(labels=LABELS, instruction="Which?", hints="none")
    model = kind(lambda _: "positive")
    return [
        RunnableScorer(run=kind(lambda _: Prediction(label="positive"))),
        ChatModelScorer(chat_model=model, prompt=prompt, confidence="logprobs"),
    ]


@pytest.mark.parametrize("number", [0, 1])
async def test_a_wrong_input_is_told_as_such_also_where_the_model_times_out(number):
    scorer = scorers(TimesOut)[number]
    for results in (
        scorer.batch(["good", 7], return_exceptions=True),
        await scorer.abatch(["good", 7], return_exceptions=True),
    ):
        assert isinstance(results[0], TimeoutError)
        assert isinstance(results[1], InvalidInputError)


@pytest.mark.parametrize("number", [0, 1])
async def test_a_model_that_returns_one_result_too_few_is_named(number):
    scorer = scorers(OneTooFew)[number]
    with pytest.raises(BatchSizeError, match="got 2 inputs but returned 1 results"):
        scorer.batch(["good", "bad"])
    with pytest.raises(BatchSizeError):
        await scorer.abatch(["good", "bad"])


def test_true_is_not_one_wherever_it_is_asked_what_is_kept():
    sure, threshold = Prediction(label=True, confidence=0.95), {1: 0.9, 0: 0.9}
    assert not is_kept(sure, threshold)
    branch = ConfidenceBranch(large=lambda record: False, threshold=threshold)
    assert branch.invoke({"input": "x", "prediction": sure})["source"] == "large"
    record = {"input": "x", "prediction": sure}
    assert replay([record], [RecordedAnswer(value=False)], threshold=threshold)[0]["source"] == "large"
    assert strong_labels([sure] * 4, [True, True, False, False], threshold=threshold) == ()
    assert strong_labels([sure] * 4, [1, 1, 0, 0], threshold=threshold) == ()


def test_without_a_small_label_a_failed_large_model_is_an_error_live_and_replayed():
    record = {"input": "x", "prediction": Prediction(label=None)}
    failing = ConfidenceBranch(large=TimesOut(None), threshold=0.9)
    with pytest.raises(TimeoutError):
        failing.invoke(record)
    with pytest.raises(TimeoutError):
        replay([record], [RecordedAnswer(value=None, error=TimeoutError("no answer"))], threshold=0.9)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "7 (int)"),
        ("x" * 1000, f"'{'x' * 80}…' (str)"),
        ({"b": 1, "a": 2}, "a dict with the keys ['a', 'b']"),
        ({str(n): n for n in range(100)}, "and 88 more"),
        (list(range(10**6)), "[0, 1, 2, 3, 4, ...] (list)"),
        (None, "None (NoneType)"),
    ],
)
def test_what_came_in_has_one_wording_and_is_short(value, said):
    assert said in what_came(value)
    assert len(what_came(value)) < 300


def test_the_commands_know_the_objectives_and_the_hints_of_the_library():
    from typing import get_args

    from dsplus_chains.cli import tune_command
    from dsplus_chains.prompting.hints import HintMode
    from dsplus_chains.tuning.threshold_tuning import Objective

    assert [one.value for one in tune_command.Objective] == list(get_args(Objective))
    assert [one.value for one in tune_command.Hints] == [*get_args(HintMode), "auto"]


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.7, 1.0])
def test_at_the_threshold_itself_the_chain_and_the_tuner_both_keep(confidence):
    predictions = [Prediction(label="a", confidence=confidence)] * 4
    tuned = tune_threshold(predictions, ["a"] * 4, ["b"] * 4, objective="accuracy")
    assert tuned.escalation_rate.value == 0
    branch = ConfidenceBranch(large=lambda text: "b", threshold=tuned.threshold)
    assert branch.invoke({"input": "x", "prediction": predictions[0]})["source"] == "small"


def test_the_help_of_a_table_names_every_kind_that_can_be_read():
    from typing import get_args

    from dsplus_chains.cli import console
    from dsplus_chains.tables.reading import KINDS

    (told,) = (str(one.help) for one in get_args(console.Data)[1:])
    assert {kind for kind in KINDS if kind not in told} == {".tab", ".ndjson"}  # other endings of two that it names
