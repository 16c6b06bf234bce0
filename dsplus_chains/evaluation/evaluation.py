"""The result of an evaluation as named numbers, and as plain data for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dsplus_chains.calibration.intervals import Interval
from dsplus_chains.evaluation.label_confusion import Confusion
from dsplus_chains.evaluation.subtask_report import SubtaskReport
from dsplus_chains.schema import brief_repr, check_choice, html_box, share, span


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """How the chain did on one label.

    Args:
        label: The label.
        n: Number of rows that have it.
        accuracy: Share of these rows that the chain got right (recall).
        precision: Share of right ones among the chain's answers with this label. None without such answers.
        small_accuracy: Share of these rows that the small model got right.
        escalation_rate: Share of these rows that went to the large model.
    """

    label: Any
    n: int
    accuracy: float
    precision: float | None
    small_accuracy: float
    escalation_rate: float


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a system without a threshold would have reached on the same rows.

    Args:
        accuracy: Share of right answers.
        escalation_rate: Share of rows sent to the large model.
    """

    accuracy: float
    escalation_rate: float


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """One wrong answer.

    Args:
        row: Index of the record.
        input: What was asked.
        label: The true label.
        answer: What the chain answered.
        source: Who answered.
        small: What the small model said.
        confidence: Its confidence, None if unknown.
        large: What the large model said, None if it was not asked or failed.
        error: Why the large model failed, None if it did not.
    """

    row: int
    input: Any
    label: Any
    answer: Any
    source: str
    small: Any
    confidence: float | None
    large: Any
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds per input.

    Args:
        mean: Mean seconds.
        p50: Median seconds.
        p95: The seconds that 95 % of inputs stay within.
    """

    mean: float
    p50: float
    p95: float


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a chain is worth on a test split. What is not known is None, never 0.

    Args:
        n: Number of rows.
        threshold: The threshold as given. Answers with ``confidence >= threshold`` are kept.
        accuracy: Accuracy of the whole chain.
        accuracy_interval: Its Wilson interval.
        small_accuracy: Accuracy of the small model on all rows.
        large_accuracy: Accuracy of the large model on all rows. A missing answer counts as wrong. None without large
            answers.
        gain_over_small: Tango's interval for the chain's accuracy minus the small model's.
        gain_over_large: The same against the large model. None without large answers.
        escalation_rate: Share of rows for which the large model was asked.
        kept_accuracy: Accuracy of the chain where the large model was not asked.
        deferred_accuracy: Accuracy of the chain where the large model was asked.
        sources: Number of rows by who answered.
        per_label: How the chain did on each label, in the order of first appearance.
        expected_calibration_error: Error of the small model's confidence, over rows with a confidence, in `n_bins`
            bins.
        adaptive_calibration_error: The same in bins of equal numbers of rows.
        brier_score: Brier score of the small model, over rows with probabilities.
        negative_log_likelihood: Negative log-likelihood of the small model, over the same rows, in nats.
        aurc: Area under the small model's risk-coverage curve.
        tokens: Tokens of all calls of the large model.
        input_tokens: Tokens of their prompts.
        output_tokens: Tokens of their answers.
        large_only_tokens: Tokens if every row had gone to the large model.
        large_only_estimated: Whether the large-only numbers extrapolate the mean of the rows that did go there.
        cost_usd: Cost of the calls, in US dollars.
        large_only_cost_usd: Cost if every row had gone there, in US dollars.
        break_even_escalation_rate: Above this rate the chain costs more than the large model alone, as its prompts may
            be longer. None unless large-only usage was given.
        latency: Seconds per input. None if not given.
        subtasks: What each subtask cost. Empty without subtasks.
        fixed: Number of rows where the large model was asked, the chain is right and the small model wrong.
        broke: Number of rows where the large model was asked, the chain is wrong and the small model right.
        sign_test_p: Two-sided p-value of the exact sign test of fixed against broke.
        baselines: ``always_small``, ``always_large``, ``random_at_equal_cost`` and ``oracle``. The oracle is right
            wherever either model is, at the fewest calls. The last three exist only with large answers.
        errors: All wrong answers.
        confusions: How often each answer was given to each label.
        curve: Accuracy of the chain at each threshold, if `large_answers` answered what else is deferred. They are
            weighed as the chain weighs them. Empty without them.
        reliability: Count, mean confidence and accuracy in each confidence bin.
        risk_coverage: Threshold, coverage and risk of the small model.
        model_name: Name of the large model.
        notes: What could not be measured, and why. Also which rows were fitted or tuned on.
    """

    n: int
    threshold: Any
    accuracy: float
    accuracy_interval: Interval
    small_accuracy: float
    large_accuracy: float | None
    gain_over_small: Interval
    gain_over_large: Interval | None
    escalation_rate: float
    kept_accuracy: float | None
    deferred_accuracy: float | None
    sources: Mapping[str, int]
    per_label: tuple[LabelReport, ...]
    expected_calibration_error: float | None
    adaptive_calibration_error: float | None
    brier_score: float | None
    negative_log_likelihood: float | None
    aurc: float | None
    tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    large_only_tokens: int | None
    large_only_estimated: bool
    cost_usd: float | None
    large_only_cost_usd: float | None
    break_even_escalation_rate: float | None
    latency: Latency | None
    subtasks: tuple[SubtaskReport, ...]
    fixed: int
    broke: int
    sign_test_p: float
    baselines: Mapping[str, Baseline]
    errors: tuple[ErrorRow, ...]
    confusions: tuple[Confusion, ...]
    curve: tuple[Mapping[str, float | None], ...]
    reliability: tuple[Mapping[str, float | None], ...]
    risk_coverage: tuple[Mapping[str, float], ...]
    model_name: str | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. What JSON cannot hold becomes text, and NaN becomes None."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def _repr_html_(self) -> str:
        level, around = self.accuracy_interval.level, span(self.accuracy_interval.low, self.accuracy_interval.high)
        asked = {} if self.large_accuracy is None else {"large model alone": share(self.large_accuracy)}
        return html_box(
            f"Evaluation on {self.n} rows",
            {
                "accuracy": f"{share(self.accuracy)} ({level:.0%} interval {around})",
                "small model alone": share(self.small_accuracy),
                **asked,
                "escalation rate": share(self.escalation_rate),
                "accuracy where kept": share(self.kept_accuracy),
                "accuracy where deferred": share(self.deferred_accuracy),
                "fixed and broke": f"{self.fixed} and {self.broke} (exact sign test, p = {self.sign_test_p:.2g})",
                "threshold": self.threshold,
                "sources": dict(self.sources),
                "tokens": "unknown" if self.tokens is None else f"{self.tokens:,}",
                "notes": "; ".join(self.notes),
            },
        )

    def to_frame(self, of: Literal["chains", "curve", "labels", "errors"] = "chains") -> Any:
        """A data frame of pandas.

        Args:
            of: "chains" has this chain and what it is compared with, one a row. "curve" has the thresholds. "labels"
                has how the chain did on each label. "errors" has the wrong answers.

        Raises:
            ImportError: pandas is not installed.
            InvalidInputError: There is no such table.
        """
        from dsplus_chains.evaluation.frames import as_frame

        check_choice("of", of, ("chains", "curve", "labels", "errors"))
        if of == "chains":
            own = {"chain": "this_chain", "accuracy": self.accuracy, "escalation_rate": self.escalation_rate}
            rows = [own, *({"chain": name, **asdict(one)} for name, one in self.baselines.items())]
            return as_frame(rows, columns=["chain", "accuracy", "escalation_rate"], index="chain")
        if of == "curve":
            return as_frame(self.curve, columns=["threshold", "escalation_rate", "accuracy"])
        parts: tuple[Any, ...] = self.per_label if of == "labels" else self.errors
        kind: Any = LabelReport if of == "labels" else ErrorRow
        names = [field.name for field in fields(kind)]
        return as_frame([asdict(part) for part in parts], columns=names, index="label" if of == "labels" else "row")

    def plot(self) -> Any:
        """The figure of `cost_accuracy_plot`, by matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dsplus_chains.evaluation.plots import cost_accuracy_plot

        return cost_accuracy_plot(self)

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
