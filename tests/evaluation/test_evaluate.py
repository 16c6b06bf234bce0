from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains import Subtask, SubtaskDecomposer, report_subtasks
from dsplus_chains.calibration.intervals import wilson_interval
from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.planning.plan import Planning
from dsplus_chains.schema import InvalidInputError, LargeAnswer, Prediction, SubtaskResult

KEYS = [
    "n",
    "accuracy",
    "small_accuracy",
    "large_accuracy",
    "escalation_rate",
    "kept_accuracy",
    "expected_calibration_error",
    "aurc",
    "tokens",
    "large_only_tokens",
    "cost_usd",
    "fixed",
    "broke",
    "sign_test_p",
    "baselines",
    "threshold",
]
USAGE = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}


def record(small, confidence, *, large=None, answer=None, source=None, text="text", usage=USAGE, error=None):
    """A record as the chain returns it: kept without `large`, else answered by it."""
    others = {"spam": "ham", "ham": "spam"}[small]
    probabilities = None if confidence is None else {small: confidence, others: 1 - confidence}
    flow = {
        "input": text,
        "prediction": Prediction(label=small, confidence=confidence, probabilities=probabilities),
        "answer": answer or large or small,
        "source": source or ("small" if large is None else "large"),
    }
    if large is not None:
        flow["large"] = LargeAnswer(value=large, usage=usage)
    if error is not None:
        flow["error"] = error
    return flow


RECORDS = [
    record("spam", 0.95),
    record("spam", 0.9),
    record("ham", 0.85),
    record("ham", 0.6, large="spam"),
    record("spam", 0.55, large="ham"),
    record("ham", 0.5, source="fallback", error="TimeoutError: no answer in 5 s"),
]
LABELS = ["spam", "ham", "ham", "spam", "spam", "ham"]
LARGE = ["spam", "ham", "spam", "spam", "ham", None]


def test_numbers_by_hand():
    result = evaluate(RECORDS, LABELS, large_answers=LARGE, threshold=0.7)
    assert (result.n, result.threshold) == (6, 0.7)
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.accuracy_interval == wilson_interval(4, 6)
    assert result.small_accuracy == pytest.approx(4 / 6)
    assert result.large_accuracy == pytest.approx(3 / 6)
    assert result.escalation_rate == pytest.approx(0.5)
    assert result.kept_accuracy == pytest.approx(2 / 3)
    assert result.deferred_accuracy == pytest.approx(2 / 3)
    assert (result.fixed, result.broke, result.sign_test_p) == (1, 1, 1.0)
    assert result.sources == {"small": 3, "large": 2, "fallback": 1}
    assert [(row.row, row.answer, row.source) for row in result.errors] == [(1, "spam", "small"), (4, "ham", "large")]


def test_baselines_by_hand():
    baselines = evaluate(RECORDS, LABELS, large_answers=LARGE).baselines
    assert baselines["always_small"].accuracy == pytest.approx(4 / 6)
    assert baselines["always_large"].accuracy == pytest.approx(3 / 6)
    # Where the large model fails a deferred row falls back: 4 of 6 are right.
    assert baselines["random_at_equal_cost"].accuracy == pytest.approx(0.5 * 4 / 6 + 0.5 * 4 / 6)
    assert baselines["random_at_equal_cost"].escalation_rate == pytest.approx(0.5)
    assert baselines["oracle"].accuracy == pytest.approx(1.0)
    assert baselines["oracle"].escalation_rate == pytest.approx(2 / 6)


def test_labels_by_hand():
    spam, ham = evaluate(RECORDS, LABELS).per_label
    assert (spam.label, spam.n) == ("spam", 3)
    assert (spam.accuracy, spam.precision, spam.small_accuracy) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert spam.escalation_rate == pytest.approx(2 / 3)
    assert (ham.n, ham.precision) == (3, pytest.approx(2 / 3))


def test_without_large_answers_their_numbers_are_unknown():
    result = evaluate(RECORDS, LABELS)
    assert result.large_accuracy is None
    assert result.gain_over_large is None
    assert set(result.baselines) == {"always_small"}
    assert result.curve == ()


def test_tokens_are_those_of_the_rows_that_were_asked():
    result = evaluate(RECORDS[:5], LABELS[:5])
    assert (result.tokens, result.input_tokens, result.output_tokens) == (200, 180, 20)
    assert (result.large_only_tokens, result.large_only_estimated) == (500, True)
    # The call that timed out used nobody knows how many.
    assert evaluate(RECORDS, LABELS).tokens is None
    known = evaluate(RECORDS[:5], LABELS[:5], large_usage=[USAGE] * 5)
    assert (known.large_only_tokens, known.break_even_escalation_rate) == (500, 1.0)


def test_calibration_by_hand():
    result = evaluate(RECORDS[:2], LABELS[:2], n_bins=10)
    assert result.expected_calibration_error == pytest.approx(abs(0.925 - 0.5))
    assert result.brier_score == pytest.approx((2 * 0.05**2 + 2 * 0.9**2) / 2)
    assert result.negative_log_likelihood == pytest.approx(-(math.log(0.95) + math.log(0.1)) / 2)
    assert result.aurc == pytest.approx((0 + 0.5) / 2)


def test_rows_without_a_confidence_are_left_out_and_counted():
    result = evaluate([record("spam", None, large="spam"), RECORDS[0]], ["spam", "spam"])
    assert result.expected_calibration_error == pytest.approx(0.05)
    assert any("1 rows without a confidence" in note for note in result.notes)
    nothing = evaluate([record("spam", None, large="spam")], ["spam"])
    assert nothing.expected_calibration_error is None
    assert nothing.brier_score is None
    assert nothing.kept_accuracy is None


def test_a_label_that_the_small_model_does_not_know():
    result = evaluate(RECORDS[:1], ["eggs"])
    assert result.accuracy == 0
    assert math.isfinite(result.negative_log_likelihood)
    assert any("does not know" in note for note in result.notes)


def test_fusion_and_tiers_count_by_whether_the_large_model_was_asked():
    fused = record("spam", 0.5, large="ham", answer="spam", source="fused")
    tier = {**record("spam", 0.5), "source": "tier two"}
    result = evaluate([fused, tier], ["spam", "spam"])
    assert result.escalation_rate == 0.5
    assert result.sources == {"fused": 1, "tier two": 1}


def test_latency():
    latency = evaluate(RECORDS[:2], LABELS[:2], latencies=[1.0, 3.0]).latency
    assert (latency.mean, latency.p50) == (2.0, 2.0)
    assert latency.p95 == pytest.approx(2.9)


def test_json_holds_the_contract_and_no_nan():
    data = json.loads(evaluate(RECORDS, LABELS, large_answers=LARGE, threshold={"spam": 0.7}).to_json())
    assert set(KEYS) <= set(data)
    assert data["baselines"]["oracle"]["accuracy"] == 1
    assert data["errors"][0]["confidence"] == pytest.approx(0.9)
    assert data["accuracy_interval"]["level"] == 0.95


def test_an_input_that_json_cannot_hold_is_written_as_text():
    odd = record("spam", 0.9, text={"text": b"\xff", "score": np.float64("nan")})
    data = json.loads(evaluate([odd], ["ham"]).to_json())
    assert data["errors"][0]["input"] == {"text": "b'\\xff'", "score": None}


ROWS = st.lists(
    st.tuples(st.sampled_from(["spam", "ham"]), st.floats(0.5, 1), st.sampled_from(["spam", "ham"]), st.booleans()),
    min_size=1,
    max_size=20,
)


@given(ROWS)
def test_the_parts_add_up(rows):
    records = [record(small, confidence, large=large if asked else None) for small, confidence, large, asked in rows]
    result = evaluate(records, ["spam"] * len(rows), large_answers=[large for _, _, large, _ in rows])
    share = result.escalation_rate
    parts = (1 - share) * (result.kept_accuracy or 0) + share * (result.deferred_accuracy or 0)
    assert parts == pytest.approx(result.accuracy)
    assert result.accuracy - result.small_accuracy == pytest.approx((result.fixed - result.broke) / result.n)
    assert result.accuracy <= result.baselines["oracle"].accuracy + 1e-9
    assert len(result.errors) == round((1 - result.accuracy) * result.n)
    assert sum(point["count"] for point in result.reliability) == result.n
    assert result.curve[0]["accuracy"] == pytest.approx(result.large_accuracy)
    assert result.curve[-1]["accuracy"] == pytest.approx(result.small_accuracy)


def test_a_long_curve_is_thinned_with_its_ends():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=1000)
    result = evaluate([record("spam", value) for value in confidence], ["spam"] * 1000, large_answers=["ham"] * 1000)
    assert len(result.curve) == len(result.risk_coverage) == 200
    assert (result.curve[0]["threshold"], result.curve[-1]["threshold"]) == (None, 0.0)
    assert result.risk_coverage[-1]["coverage"] == 1


@pytest.mark.parametrize(
    ("records", "labels", "options", "message"),
    [
        ([], [], {}, "Got no rows"),
        (RECORDS[:2], ["spam"], {}, "Got 2 records for 1 labels"),
        (RECORDS[:1], ["spam"], {"large_answers": []}, "Got 0 large_answers"),
        (RECORDS[:1], ["spam"], {"latencies": [1, 2]}, "Got 2 latencies"),
        (RECORDS[:1], [1], {}, "answers of type str but labels of type int"),
        ([TimeoutError("late")], ["spam"], {}, "Got TimeoutError without prediction, answer, source in row 0"),
        ([{"prediction": None, "source": "small"}], ["spam"], {}, "without answer in row 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused(records, labels, options, message):
    with pytest.raises(InvalidInputError, match=message):
        evaluate(records, labels, **options)


def test_large_answers_that_were_never_parsed_are_refused():
    sure = Prediction(label="positive", confidence=0.9)
    records = [{"input": "a", "prediction": sure, "answer": "positive", "source": "small"}] * 2
    with pytest.raises(InvalidInputError, match="read them with LabelParser first"):
        evaluate(records, ["positive", "negative"], large_answers=["Positive.", "Negative."])


def test_with_tiers_the_small_model_is_the_first():
    first, second = Prediction(label="a", confidence=0.5), Prediction(label="b", confidence=0.9)
    records = [
        {"input": "x", "prediction": first, "answer": "a", "source": "small"},
        {"input": "y", "prediction": second, "tiers": [first], "answer": "b", "source": "medium"},
    ]
    assert evaluate(records, ["a", "b"]).small_accuracy == 0.5


def test_what_each_subtask_cost_by_hand():
    topics = [
        SubtaskResult(value="a", source="small", seconds=0.5),
        SubtaskResult(value="b", source="large", calls=2, usage=USAGE, seconds=0.5),
        SubtaskResult(value="b", source="fused", calls=1, usage=USAGE, seconds=1.0),
        SubtaskResult(source="skipped"),
        SubtaskResult(error="TimeoutError", calls=1, usage=USAGE, seconds=2.0),
        SubtaskResult(value="a", source="small", seconds=0.0),
    ]
    quote = SubtaskResult(value="q", source="large", calls=1, seconds=1.0)  # tells no tokens
    records = [{**row, "subtasks": {"topic": topic}} for row, topic in zip(RECORDS, topics, strict=True)]
    records[0]["subtasks"]["quote"] = quote
    records[1]["subtasks"]["never"] = SubtaskResult(source="skipped")
    topic, quoted, never = evaluate(records, LABELS).subtasks
    assert (topic.name, topic.n, topic.calls, topic.tokens, topic.seconds) == ("topic", 6, 4, 300, 4.0)
    # Of the five that ran, the one that failed has called the large model too.
    assert (topic.escalation_rate, topic.failed_rate) == pytest.approx((3 / 5, 1 / 5))
    assert topic.skipped_rate == pytest.approx(1 / 6)
    assert (quoted.n, quoted.calls, quoted.tokens, quoted.escalation_rate) == (1, 1, None, 1.0)
    assert (never.escalation_rate, never.skipped_rate, never.failed_rate) == (None, 1.0, None)
    assert json.loads(evaluate(records, LABELS).to_json())["subtasks"][0]["name"] == "topic"
    assert evaluate(RECORDS, LABELS).subtasks == ()


def test_the_calls_of_planning_and_subtasks_cost_tokens_where_the_answer_is_small():
    asked = SubtaskResult(value="x", source="large", calls=1, usage=USAGE)
    silent = SubtaskResult(value="x", source="large", calls=1)
    unasked = SubtaskResult(value="x", source="small")
    planned = Planning(source="large", calls=2, usage={"input_tokens": 20, "output_tokens": 5, "total_tokens": 25})
    cached = Planning(source="cache")
    row = record("spam", 0.95)
    for more, tokens, share in [
        ({"planning": planned, "subtasks": {"a": asked, "b": unasked}}, 125, 0.5),
        ({"subtasks": {"a": asked, "b": asked}}, 200, 0.5),
        ({"subtasks": {"a": asked, "b": silent}}, None, 0.5),
        ({"planning": cached, "subtasks": {"b": unasked}}, 0, 0.0),
        # What `large` tells counts all of a row's calls.
        ({"planning": planned, "subtasks": {"a": asked}, "large": LargeAnswer(value="spam", usage=USAGE)}, 100, 0.5),
        # A call that failed after the subtasks used nobody knows how many.
        ({"subtasks": {"a": asked}, "source": "fallback"}, None, 0.5),
    ]:
        result = evaluate([{**row, **more}, row], ["spam", "spam"])
        assert (result.tokens, result.escalation_rate) == (tokens, share)


def test_subtasks_of_a_plain_decomposer_are_reported_and_a_failed_call_was_asked_for():
    failed = SubtaskResult(error="TimeoutError: no answer", calls=1)
    broken = SubtaskResult(error="KeyError: 'x'")
    kept = SubtaskResult(value="x", source="small")
    decomposer = SubtaskDecomposer(subtasks=[Subtask(name="topic", run=lambda _: kept)], combine="{topic}")
    records = [decomposer.invoke("a"), *({"subtasks": {"topic": result}} for result in (failed, broken))]
    (topic,) = report_subtasks(records)
    assert (topic.n, topic.calls, topic.tokens) == (3, 1, None)
    assert topic.escalation_rate == pytest.approx(1 / 3)
    assert topic.failed_rate == pytest.approx(2 / 3)
