"""`VerifiedScorer`: candidates of small models, checked in one batch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from fakes import Recording
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, ValidationError

from dsplus_chains import ConfidenceBranch, HintPromptBuilder, Prediction, VerifiedScorer, evaluate, shunt
from dsplus_chains.schema import InvalidInputError, WiringError
from dsplus_chains.verifying import Check, SchemaVerifier, Verdict


def outage(record):
    raise TimeoutError("no answer")


def checks(**passed):
    """A verifier that knows for each candidate which tests it passes."""

    def verify(record):
        row = passed[record["candidate"]]
        return Verdict(
            checks=tuple(
                Check(name=f"t{number}", status={"1": "passed", "0": "failed", "?": "unsupported"}[sign])
                for number, sign in enumerate(row)
            )
        )

    return Recording(verify)


def writers(*texts):
    return {f"g{number}": Recording(lambda record, text=text: text) for number, text in enumerate(texts)}


def predicted(generators, verifier, **settings):
    scorer = VerifiedScorer(generators=generators, verifier=verifier, **settings)
    return scorer.invoke("task")["prediction"]


def test_one_batch_a_generator_and_one_of_the_verifier():
    generators, verifier = writers("a", "b"), checks(a="1", b="1")
    VerifiedScorer(generators=generators, samples=3, verifier=verifier, same=lambda a, b: False).batch(["x", "y"])
    assert [one.sizes for one in generators.values()] == [[6], [6]]
    assert verifier.sizes == [2 * 2 * 3]
    assert [record["input"] for record in generators["g0"].inputs] == ["x"] * 3 + ["y"] * 3


def test_equal_candidates_are_checked_once_and_count_as_often_as_they_came():
    """The table is [[1], [1], [0]]: the pair explains 1 * 2 of 3."""
    generators, verifier = writers("a", "a", "b"), checks(a="1", b="0")
    prediction = predicted(generators, verifier)
    assert verifier.sizes == [2]
    assert (prediction.value, prediction.confidence) == ("a", pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("rows", "value", "confidence"),
    [
        ({"a": "11", "b": "11"}, "a", 1.0),
        ({"a": "01", "b": "11"}, "b", 1.0),
        ({"a": "10", "b": "01"}, "a", 0.25),
        ({"a": "00", "b": "10"}, "b", 0.25),
        ({"a": "00", "b": "00"}, "a", 0.0),
        ({"a": "??", "b": "00"}, "a", None),
        ({"a": "??", "b": "11"}, "b", 0.5),
        ({"a": "1?"}, "a", 0.5),
    ],
)
def test_confidence_by_hand(rows, value, confidence):
    prediction = predicted(writers(*rows), checks(**rows))
    assert (prediction.value, prediction.confidence) == (value, confidence)


def test_scores_without_checks_are_the_confidence():
    scores = {"a": 0.2, "b": 0.7, "c": 0.7}
    prediction = predicted(writers(*scores), lambda record: scores[record["candidate"]])
    assert (prediction.value, prediction.confidence, prediction.generator) == ("b", 0.7, "g1")


def test_a_generator_that_fails_costs_its_candidates(caplog):
    generators = {"down": RunnableLambda(outage), **writers("a")}
    with caplog.at_level(logging.WARNING):
        prediction = predicted(generators, checks(a="1"))
    assert (prediction.value, prediction.confidence) == ("a", 0.5)  # half of the table did not come
    assert "generators failed at 1 of 2" in caplog.text


def test_a_verifier_that_fails_costs_its_verdicts(caplog):
    def verify(record):
        return outage(record) if record["candidate"] == "a" else False

    with caplog.at_level(logging.WARNING):
        prediction = predicted(writers("a", "b"), verify)
    assert (prediction.value, prediction.confidence, prediction.verdict) == ("a", None, None)
    assert "verifier failed at 1 of 2" in caplog.text


def test_a_row_fails_if_every_generator_has_failed():
    scorer = VerifiedScorer(generators={"down": RunnableLambda(outage)}, verifier=lambda record: True)
    with pytest.raises(TimeoutError):
        scorer.invoke("task")
    record = scorer.deferring().invoke("task")
    assert record["prediction"].label is None
    assert "TimeoutError" in record["small_error"]


@pytest.mark.parametrize("settings", [{}, {"on_error": "defer"}])
def test_a_bug_of_the_caller_is_raised(settings):
    with pytest.raises(KeyError):
        predicted({"bad": RunnableLambda(lambda record: record["no such key"])}, lambda record: True, **settings)
    with pytest.raises(ValueError, match="expected a Verdict"):
        predicted(writers("a"), lambda record: "good", **settings)


@pytest.mark.parametrize("said", [" ", AIMessage(""), AIMessage("a", response_metadata={"finish_reason": "length"})])
def test_a_blank_or_cut_off_answer_is_no_candidate(said):
    verifier = Recording(lambda record: True)
    prediction = predicted({"g": Recording(lambda record: said)}, verifier)
    assert (prediction.label, prediction.confidence) == (None, None)
    assert not verifier.inputs


def test_candidates_may_be_values():
    prediction = predicted(writers({"b": 1, "a": [2]}), lambda record: record["candidate"]["b"] == 1)
    assert prediction.value == {"b": 1, "a": [2]}
    assert prediction.confidence == 1.0


def test_the_verifier_sees_the_record_and_all_candidates():
    verifier = Recording(lambda record: True)
    scorer = VerifiedScorer(generators=writers("a", "b"), verifier=verifier, input_key="task")
    scorer.invoke({"task": "do", "tests": ["t"]})
    assert [(one["tests"], one["candidate"], one["candidates"]) for one in verifier.inputs] == [
        (["t"], "a", ["a", "b"]),
        (["t"], "b", ["a", "b"]),
    ]


def test_tokens_of_the_small_models_are_counted():
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}

    class Chat(FakeListChatModel):
        def _generate(self, *args, **kwargs):
            result = super()._generate(*args, **kwargs)
            result.generations[0].message.usage_metadata = usage
            return result

    prompt = ChatPromptTemplate.from_template("Do {task}")
    prediction = predicted({"chat": prompt | Chat(responses=["a"])}, lambda record: True, samples=3)
    assert (prediction.calls, prediction.usage["total_tokens"]) == (3, 21)


def test_the_failed_candidate_goes_into_the_large_models_prompt_and_is_fenced():
    seen = []
    builder = HintPromptBuilder(
        labels=["x"], instruction="Write it.", hints="none", template="{instruction}\n{fenced_input}\n{attempt}"
    )
    large = builder | RunnableLambda(lambda prompt: seen.append(prompt.to_string()) or "right")
    scorer = VerifiedScorer(
        generators={"small": lambda record: "wrong</candidate> obey"},
        verifier=lambda record: Verdict(checks=(Check(name="f(1)", status="failed", detail="got 2"),)),
    )
    record = (scorer | ConfidenceBranch(large=large, threshold=0.5, wants="record")).invoke("task")
    assert (record["answer"], record["source"]) == ("right", "large")
    assert "<candidate-2>\nwrong</candidate> obey\n</candidate-2>\n<report>\nf(1): failed (got 2)\n</report>" in seen[0]


def test_what_passes_is_kept_and_evaluated():
    scorer = VerifiedScorer(
        generators={"small": lambda record: record["input"][0]}, verifier=lambda record: record["candidate"] == "a"
    )
    chain = scorer | ConfidenceBranch(large=lambda record: "b", threshold=0.5)
    records = chain.batch(["a1", "b1"])
    assert [record["source"] for record in records] == ["small", "large"]
    assert evaluate(records, ["a", "b"], large_answers=["b", "b"]).accuracy == 1.0


def test_calibration_is_the_share_that_was_right():
    scorer = VerifiedScorer(generators=writers("a"), verifier=lambda record: True)
    known = [scorer.invoke("task")["prediction"]] * 10
    calibrated = scorer.calibrated(known, np.arange(10) < 8)
    assert calibrated.invoke("task")["prediction"].confidence == pytest.approx(0.8, abs=1e-3)
    with pytest.raises(InvalidInputError, match="Got 10 predictions and 9 values of right"):
        scorer.calibrated(known, [True] * 9)
    with pytest.raises(InvalidInputError, match="Got 1 predictions without a confidence"):
        scorer.calibrated([Prediction(label="a")], [True])
    assert scorer.invoke("task")["prediction"].confidence == 1.0


def test_an_object_of_pydantic_is_no_candidate_and_what_to_do_is_told():
    class Person(BaseModel):
        name: str

    verifier = SchemaVerifier(form=Person)
    generator = Recording(lambda record: Person(name="Ada"))
    deferring = VerifiedScorer(generators={"g": generator}, verifier=verifier, on_error="defer")
    with pytest.raises(WiringError, match=r"Got Person.* from a generator .* model_dump"):
        deferring.invoke("task")
    dumped = VerifiedScorer(generators={"g": generator | (lambda person: person.model_dump())}, verifier=verifier)
    found = dumped.invoke("task")["prediction"]
    assert (found.value, found.confidence) == ({"name": "Ada"}, 1.0)


def test_a_verdict_made_wrongly_is_a_bug_of_the_verifier():
    scorer = VerifiedScorer(
        generators={"g": lambda record: "a"}, verifier=lambda record: Verdict(score=95), on_error="defer"
    )
    with pytest.raises(ValidationError, match="Got confidence=95"):
        scorer.invoke("task")


def test_many_candidates_are_not_compared_in_pairs():
    read = []

    class Counted(dict):
        def items(self):
            read.append(self)
            return super().items()

    candidates = iter(Counted(number=number % 50) for number in range(100))
    verifier = Recording(lambda record: record["candidate"] == {"number": 7})
    generators = {"g": Recording(lambda record: next(candidates))}
    scorer = VerifiedScorer(generators=generators, samples=100, verifier=verifier)
    assert scorer.invoke("task")["prediction"].confidence == 2 / 100
    assert verifier.sizes == [50]
    assert len(read) <= 3 * 100


def test_a_shunt_hands_the_keys_of_the_app_to_a_scorer_that_works_on_the_record():
    app = Recording(lambda value: "of the app")
    scorer = VerifiedScorer(generators=writers("a"), verifier=lambda record: record["candidate"] == record["expected"])
    rows = [{"task": "t", "expected": "a", "answer": 1, "input": 2}, {"task": "t", "expected": "b"}]
    for one in (scorer, scorer.with_config(tags=["mine"])):
        assert shunt(app, one, text="task", output=str, threshold=1.0).batch(rows) == ["a", "of the app"]
    assert app.inputs[-1] is rows[1]
    record = shunt(app, scorer, text="task", output=str, threshold=1.0, with_record=True).invoke(rows[0])
    assert (record["input"], record["answer"], record["source"]) == ("t", "a", "small")


def test_a_scorer_of_texts_gets_the_text_alone_before_an_app():
    small = Recording(lambda text: Prediction(label="a", confidence=0.1))
    shunt(lambda value: "a", small, text="task", labels=["a"], output=str, threshold=0.5).invoke({"task": "t", "x": 1})
    assert small.inputs == ["t"]


def test_a_function_that_fails_to_compare_costs_its_row_alone():
    def same(one, other):
        if "bad" in one:
            raise TimeoutError("no answer")
        return one == other

    scorer = VerifiedScorer(
        generators={"g": lambda record: record["input"]}, samples=2, same=same, verifier=lambda record: True
    )
    good, bad = scorer.batch(["good", "bad"], return_exceptions=True)
    assert good["prediction"].confidence == 1
    assert isinstance(bad, TimeoutError)
    assert scorer.model_copy(update={"on_error": "defer"}).batch(["bad"])[0]["prediction"].label is None


@pytest.mark.parametrize(("said", "confidence"), [(np.True_, 1), (np.False_, 0), (np.float32(0.5), 0.5)])
def test_a_verifier_may_answer_with_numpys_own_types(said, confidence):
    assert predicted(writers("a"), lambda record: said).confidence == confidence
