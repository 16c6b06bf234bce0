"""Verified scorers as tiers before a large model, with a threshold chosen by a judge."""

from __future__ import annotations

from dsplus_chains import ConfidenceBranch, VerifiedScorer, evaluate, tune_threshold
from dsplus_chains.verifying import CodeTests

TASKS = [
    {"input": "double", "tests": ["assert f(2) == 4"], "hidden": "assert f(3) == 6"},
    {"input": "square", "tests": ["assert f(2) == 4"], "hidden": "assert f(3) == 9"},
    {"input": "negate", "tests": ["assert f(2) == -2"], "hidden": "assert f(3) == -3"},
]
CODE = {
    "double": "def f(x): return 2 * x",
    "square": "def f(x): return x ** 2",
    "negate": "def f(x): return -x",
}
GATE, JUDGE = CodeTests(tests="tests"), CodeTests(tests="hidden")


def tier(solve):
    return VerifiedScorer(generators={"small": solve}, verifier=GATE)


def test_each_tier_keeps_what_passes_and_the_large_model_sees_what_failed():
    seen = []

    def large(record):
        seen.append(record["attempt"])
        return CODE[record["input"]]

    first, second = tier(lambda record: CODE["double"]), tier(lambda record: "def f(x): return 0")
    inner = second | ConfidenceBranch(large=large, threshold=0.5, tier="small-2", wants="record")
    chain = first | ConfidenceBranch(large=inner, threshold=0.5, tier="small")
    records = chain.batch(TASKS)
    assert [record["source"] for record in records] == ["small", "small", "large"]
    assert "assert f(2) == -2: failed (got 0)" in seen[0]
    result = evaluate(records, TASKS, large_answers=[CODE[task["input"]] for task in TASKS], judge=JUDGE)
    assert (result.accuracy, result.small_accuracy, result.large_accuracy) == (2 / 3, 1 / 3, 1.0)
    assert [row.row for row in result.errors] == [1]  # the gate let a doubling pass for a square


def test_its_threshold_is_chosen_by_a_judge():
    records = tier(lambda record: CODE["double"]).batch(TASKS * 10)
    large = [CODE[task["input"]] for task in TASKS] * 10
    tuned = tune_threshold(records, TASKS * 10, large, judge=JUDGE, objective="max_escalation", max_escalation=0.4)
    assert 0 < tuned.threshold <= 1
    assert tuned.escalation_rate.value == 1 / 3
    assert tuned.chain_accuracy.value == 2 / 3
