"""Evaluate a chain on a test split."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.intervals import sign_test, wilson_interval
from dsplus_chains.evaluation.answer_judge import AnswerJudge, Judge
from dsplus_chains.evaluation.answers import right_answers
from dsplus_chains.evaluation.baselines import confidences, measure_large, measure_small, paired_gain
from dsplus_chains.evaluation.chain_records import (
    checked_records,
    error_row,
    first_prediction,
    usage_of,
    was_asked,
)
from dsplus_chains.evaluation.costs import spending
from dsplus_chains.evaluation.evaluation import Baseline, Evaluation, LabelReport, Latency
from dsplus_chains.evaluation.label_confusion import count_confusions
from dsplus_chains.evaluation.overlap import overlap_of
from dsplus_chains.evaluation.raw_answers import read_answers
from dsplus_chains.evaluation.subtask_report import report_subtasks
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    OverlapWarning,
    Prediction,
    answered_label,
    clean_answers,
    clean_labels,
    label_key,
)
from dsplus_chains.scoring.seen_texts import SeenTexts

Flags = NDArray[np.bool_]


def evaluate(
    records: Sequence[Mapping[str, Any]],
    labels: Sequence[Label],
    *,
    large_answers: Sequence[Any] | None = None,
    large_usage: Sequence[Mapping[str, Any] | None] | None = None,
    model_name: str | None = None,
    threshold: Any = None,
    max_ood_score: float | None = None,
    fusion: AnswerFusion | None = None,
    large_confidences: Sequence[float | None] | None = None,
    latencies: Sequence[float] | None = None,
    n_bins: int = 15,
    level: float = 0.95,
    parser: LabelParser | None = None,
    judge: Judge | None = None,
    tuned_on: SeenTexts | None = None,
) -> Evaluation:
    """Measure a chain's answers against the labels, and against systems without a threshold.

    With several small models in the chain, "the small model" is the first, which saw every input. The large model
    counts as asked for a row if it answered or failed to answer. It also counts if the planning or a subtask called a
    chat model. Records without a `prediction`, such as a decomposer's own, are for `report_subtasks`.

    Args:
        records: What the chain returned. Each is a dict with `input`, `prediction`, `answer` and `source`. Where the
            large model was asked, it also has `large` and `error`. Records of a decomposer also have `subtasks`.
        labels: The true labels.
        large_answers: What the large model alone answers to each row, None where it fails. Without it there are no
            baselines with a large model. Raw answers (texts, messages, objects) are read, as in a chain.
        large_usage: LangChain's `UsageMetadata` of these answers, for the cost of the large model alone. Without it,
            that cost is extrapolated from the chain's calls.
        model_name: Name of the large model, for its price.
        threshold: The threshold that the chain kept answers by, to be reported.
        max_ood_score: The chain's limit on the distance, for its curve.
        fusion: What has the last word in the chain, for its curve. None if the large model has it.
        large_confidences: Confidence of the large model in each of `large_answers`, for the fusion.
        latencies: Seconds that each row took.
        n_bins: Number of bins of the calibration error.
        level: Confidence level of the intervals.
        parser: Parser of answers that are no label, such as a task's own. None makes one from the labels of the rows
            and of the predictions. What it cannot read counts as no answer. `notes` and a warning say how many.
        judge: What says whether an answer is right, for answers that are no labels; see `Judge`. `labels` are then
            references of any type. There are no confusions, and all rows count as one label.
        tuned_on: The texts that the threshold was tuned on (`tuned.tuned_on`).

    Raises:
        InvalidInputError: There are no rows, lengths differ, a record has no answer, or labels are missing. Or there is
            no `parser`, and not one answer is a label as it stands. Then it may be the wrong column.

    Warns:
        OverlapWarning: A small model was fitted on some of these rows, or the threshold was tuned on them.

    Example:
        >>> from dsplus_chains.schema import Prediction
        >>> sure, unsure = Prediction(label="ham", confidence=0.9), Prediction(label="ham", confidence=0.6)
        >>> result = evaluate(
        ...     [{"input": "a", "prediction": sure, "answer": "ham", "source": "small"},
        ...      {"input": "b", "prediction": unsure, "answer": "spam", "source": "large"}],
        ...     ["ham", "spam"],
        ... )
        >>> result.accuracy, result.small_accuracy, result.escalation_rate, result.fixed, result.cost_usd
        (1.0, 0.5, 0.5, 1, None)
    """
    records = checked_records(records)
    decide = None if judge is None else AnswerJudge(judge, labels, records)
    true = clean_labels(labels) if decide is None else decide.labels
    given = {
        "large_answers": large_answers,
        "large_usage": large_usage,
        "large_confidences": large_confidences,
        "latencies": latencies,
    }
    columns = {name: None if column is None else clean_answers(column, name) for name, column in given.items()}
    _check_lengths(len(true), records=records, **columns)
    n, usage = len(true), columns["large_usage"]
    shown = true if decide is None else decide.references
    predictions = [first_prediction(record) for record in records]
    answers = [answered_label(record) for record in records]
    if decide is not None:
        predictions, answers = decide.predictions(predictions), decide.answers([row["answer"] for row in records])
        if columns["large_answers"] is not None:
            columns["large_answers"] = decide.answers(columns["large_answers"])
    read = partial(read_answers, labels=true, predictions=predictions, parser=parser)
    answered = read(answers, what="answers")
    right = right_answers(answered.values, true)
    small_right = right_answers([prediction.label for prediction in predictions], true, what="predictions")
    asked = np.array([was_asked(record) for record in records])
    small = measure_small(predictions, true, n_bins=n_bins)
    large, notes = None, answered.notes
    if columns["large_answers"] is not None:
        alone = read(columns["large_answers"])
        notes += alone.notes
        large = measure_large(
            alone.values,
            true,
            fused=_fused(fusion, records, alone.values, columns["large_confidences"]),
            chain_right=right,
            small_right=small_right,
            asked=asked,
            confidence=confidences(predictions, max_ood_score),
            level=level,
        )
    calls = [usage_of(record) for record, was_asked in zip(records, asked, strict=True) if was_asked]
    overlaps = overlap_of(records, tuned_on)
    for overlap in overlaps:
        warnings.warn(overlap, OverlapWarning, stacklevel=2)
    spent = spending(calls, n=n, large_usage=usage, model_name=model_name)
    fixed, broke = int((asked & right & ~small_right).sum()), int((asked & ~right & small_right).sum())
    always_small = Baseline(accuracy=float(small_right.mean()), escalation_rate=0.0)
    return Evaluation(
        n=n,
        threshold=threshold,
        accuracy=float(right.mean()),
        accuracy_interval=wilson_interval(int(right.sum()), n, level=level),
        small_accuracy=float(small_right.mean()),
        large_accuracy=None if large is None else large.accuracy,
        gain_over_small=paired_gain(right, small_right, level),
        gain_over_large=None if large is None else large.gain,
        escalation_rate=float(asked.mean()),
        kept_accuracy=_mean(right[~asked]),
        deferred_accuracy=_mean(right[asked]),
        sources=dict(Counter(str(record["source"]) for record in records)),
        per_label=_per_label(true, answered.values, right, small_right, asked),
        expected_calibration_error=small.expected_calibration_error,
        adaptive_calibration_error=small.adaptive_calibration_error,
        brier_score=small.brier_score,
        negative_log_likelihood=small.negative_log_likelihood,
        aurc=small.aurc,
        tokens=None if spent.tokens is None else spent.tokens.total,
        input_tokens=None if spent.tokens is None else spent.tokens.input,
        output_tokens=None if spent.tokens is None else spent.tokens.output,
        large_only_tokens=spent.large_only_tokens,
        large_only_estimated=spent.large_only_estimated,
        cost_usd=spent.cost_usd,
        large_only_cost_usd=spent.large_only_cost_usd,
        break_even_escalation_rate=spent.break_even_escalation_rate,
        latency=_latency(columns["latencies"] or []),
        subtasks=report_subtasks(records),
        fixed=fixed,
        broke=broke,
        sign_test_p=sign_test(fixed, broke),
        baselines={"always_small": always_small, **({} if large is None else large.baselines)},
        errors=tuple(error_row(row, records[row], shown[row]) for row in np.flatnonzero(~right).tolist()),
        confusions=count_confusions(true, answered.values) if decide is None else (),
        curve=() if large is None else large.curve,
        reliability=small.reliability,
        risk_coverage=small.risk_coverage,
        model_name=model_name,
        notes=(*notes, *small.notes, *spent.notes, *overlaps),
    )


def _fused(
    fusion: AnswerFusion | None,
    records: Sequence[Mapping[str, Any]],
    answers: Sequence[Any],
    large_confidences: Sequence[float | None] | None,
) -> list[Prediction | None]:
    """What the fusion would have said of each row if it had been deferred. None where the large answer stands."""
    if fusion is None:
        return [None] * len(records)
    return fusion.weigh([record["prediction"] for record in records], list(answers), large_confidences)


def _per_label(
    true: Sequence[Any], answers: Sequence[Any], right: Flags, small_right: Flags, asked: Flags
) -> tuple[LabelReport, ...]:
    rows_of: dict[Any, list[int]] = {}
    for row, label in enumerate(true):
        rows_of.setdefault(label, []).append(row)
    answered = Counter(label_key(answer) for answer in answers if isinstance(answer, (str, int)))
    return tuple(
        LabelReport(
            label=label,
            n=len(rows),
            accuracy=float(right[rows].mean()),
            precision=int(right[rows].sum()) / given if (given := answered[label_key(label)]) else None,
            small_accuracy=float(small_right[rows].mean()),
            escalation_rate=float(asked[rows].mean()),
        )
        for label, rows in rows_of.items()
    )


def _check_lengths(n: int, **columns: Sequence[Any] | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != n:
            msg = f"Got {len(column)} {name} for {n} labels but expected one for each"
            raise InvalidInputError(msg)
    if not n:
        msg = "Got no rows but expected at least one"
        raise InvalidInputError(msg)


def _latency(seconds: Sequence[float | None]) -> Latency | None:
    """The latency over the rows where it is known. None if it is known for none."""
    known = np.array([value for value in seconds if value is not None], dtype=np.float64)
    if not len(known):
        return None
    p50, p95 = np.quantile(known, [0.5, 0.95])
    return Latency(mean=float(known.mean()), p50=float(p50), p95=float(p95))


def _mean(flags: Flags) -> float | None:
    return float(flags.mean()) if len(flags) else None
