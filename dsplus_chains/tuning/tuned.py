"""The result of tuning. It holds a threshold, what it was tuned on, and what it means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from pydantic import ValidationError

from dsplus_chains.calibration.intervals import Interval, wilson_interval
from dsplus_chains.evaluation.frames import as_frame
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.schema import brief_repr, first_fault, html_box, shown
from dsplus_chains.scoring.seen_texts import SeenTexts
from dsplus_chains.tuning.sets import fewest_rows
from dsplus_chains.tuning.stored_tuned import StoredEstimate, StoredTuned

_OF_RISK = {
    "chain": "the whole chain (small and large model together) errs on at most {bound} of inputs",
    "kept": "the small model errs on at most {bound} of the inputs it keeps",
    "excess": "the chain errs on at most {bound} more of all inputs than the large model does",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A share measured on the tuning rows, with its Wilson interval.

    Args:
        value: The share. None where there are no rows to measure it on.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of rows it was measured on.
        level: Confidence level of the interval.
    """

    value: float | None
    low: float
    high: float
    n: int
    level: float = 0.95

    @classmethod
    def of(cls, successes: int, n: int) -> Self:
        """Measure a share."""
        interval: Interval = wilson_interval(int(successes), int(n))
        value = int(successes) / int(n) if n else None
        return cls(value=value, low=interval.low, high=interval.high, n=int(n), level=interval.level)

    def __str__(self) -> str:
        """The share for people."""
        return "none" if self.value is None else f"{100 * self.value:.1f} %"

    @property
    def span(self) -> str:
        """The interval for people."""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f} %"


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What one threshold meant on the tuning rows.

    Args:
        threshold: Answers with ``confidence >= threshold`` are kept. None defers everything.
        escalation_rate: Share of rows deferred.
        accuracy: Accuracy of the whole chain.
        kept_accuracy: Accuracy of the small model on what it keeps. None where it keeps nothing.
        cost: Mean cost of an input, in the unit of `large_cost`.
        certified: Whether the point is certified for `max_risk`. None where no such bound was asked for.
    """

    threshold: float | None
    escalation_rate: float
    accuracy: float
    kept_accuracy: float | None
    cost: float
    certified: bool | None = None


@brief_repr
@dataclass(frozen=True, kw_only=True)
class TunedThreshold:
    """A threshold chosen from data, with what it was chosen on and what it means.

    The estimates come from the rows it was chosen on, so they are a little too good. Use `evaluate` on a test split for
    fair ones.

    Args:
        threshold: Answers with ``confidence >= threshold`` are kept. One number, or one for each predicted label. None
            defers everything.
        objective: What was optimised.
        constraints: The bounds it had to meet, of `max_escalation`, `max_cost` and `max_risk`, as far as they were
            given.
        risk: What `max_risk` bounds. None without it.
        delta: Chance, over the tuning rows, that the guarantee fails. None without `max_risk`.
        n: Number of tuning rows.
        data_hash: SHA-256 of the predictions, labels and large answers it was tuned on.
        model_hash: Hash of the small model, if the caller gave one.
        chain_accuracy: Accuracy of the whole chain.
        kept_accuracy: Accuracy of the small model on what it keeps.
        escalation_rate: Share of inputs deferred.
        small_accuracy: Accuracy of the small model on all rows.
        large_accuracy: Accuracy of the large model on all rows. A missing answer counts as wrong.
        cost: Mean cost of an input, in the unit of `large_cost`.
        curve: At most 200 of the candidate points, from "defer everything" to "keep everything", the chosen one among
            them.
        fusion: What has the last word on deferred inputs. None means the large model.
        fusion_rows: Further rows, which fitted the fusion and are not among the n. 0 if there are none.
        max_ood_score: The chain also defers inputs whose `ood_score` is missing or above this. None means no such
            bound.
        set_coverage: How often, at least, label pruning leaves the true label of a deferred input.
        set_level: The level by which `HintPromptBuilder` prunes to keep that coverage. 1 prunes nothing. None where it
            was not asked for.
        unanswered: Number of rows that the large model was not asked about, or failed on.
        unread: Number of these rows whose answer could not be read as a label.
        strange: Number of rows whose answer is no label, and counts as it stands. It is wrong.
        tuned_on: The texts of the tuning rows, as hashes. None if they were not known.
        overlap: Number of tuning rows that the small model was fitted on.
        min_gain: What a call had to gain for the objective "accuracy".
        against: What counts as right. With "large_answers" it is what the large model answered. All accuracies are then
            agreement with it, and say nothing of the truth.
    """

    threshold: float | Mapping[Any, float | None] | None
    objective: str
    constraints: Mapping[str, float]
    risk: str | None
    delta: float | None
    n: int
    data_hash: str
    model_hash: str | None
    chain_accuracy: Estimate
    kept_accuracy: Estimate
    escalation_rate: Estimate
    small_accuracy: Estimate
    large_accuracy: Estimate
    cost: float
    curve: tuple[OperatingPoint, ...]
    fusion: AnswerFusion | None = None
    fusion_rows: int = 0
    max_ood_score: float | None = None
    set_coverage: float | None = None
    set_level: float | None = None
    unanswered: int = 0
    unread: int = 0
    strange: int = 0
    tuned_on: SeenTexts | None = None
    overlap: int = 0
    min_gain: float = 0.05
    against: Literal["labels", "large_answers"] = "labels"

    @property
    def meaning(self) -> str:
        """What the threshold means, in one plain sentence."""
        if self.threshold is None:
            keeps = "No answer of the small model is kept"
        elif isinstance(self.threshold, Mapping):
            keeps = "Answers of the small model are kept from a confidence that depends on its label"
        elif self.threshold == 0:
            keeps = "Every answer of the small model that has a confidence is kept"
        else:
            keeps = f"Answers of the small model with a confidence of at least {self.threshold:g} are kept"
        if self.max_ood_score is not None:
            keeps += f" for inputs within {self.max_ood_score:g} of the training examples"
        shares = f"{self.escalation_rate} of {self.n} tuning rows went to the large model"
        told = "were right" if self.against == "labels" else "agree with the large model, which may be wrong"
        right = f"{self.chain_accuracy} of answers {told} (95 % interval {self.chain_accuracy.span})"
        if self.fusion is not None:
            fitted = f" ({self.fusion_rows} others fitted the weights)" if self.fusion_rows else ""
            shares += f", whose answer was weighed with the small one's{fitted},"
        sentence = f"{keeps}: {shares} and {right}, against {self.small_accuracy} for the small model alone"
        if self.against == "labels":
            sentence += f" and {self.large_accuracy} for the large model alone"
        if self.unanswered:
            unread = f", {self.unread} of them with no label," if self.unread else ""
            sentence += f" (the {self.unanswered} that it has not answered{unread} count as wrong)"
        if self.strange:
            sentence += f" ({self.strange} of its answers are no label and count as wrong)"
        if self.overlap:
            sentence += f"; the small model was fitted on {self.overlap} of these rows, so all this is too good"
        if self.pruning is not None:
            sentence += f"; {self.pruning}"
        if self.risk is not None and self.delta is not None:
            promise = _OF_RISK[self.risk].format(bound=f"{self.constraints['max_risk']:.2%}".replace("%", " %"))
            sentence += (
                f"; with probability at least {1 - self.delta:g} over the tuning rows, {promise}, as long as"
                " inputs come from where the tuning rows came from"
            )
        return sentence + "."

    @property
    def pruning(self) -> str | None:
        """Which labels `set_level` leaves, or why it leaves all. None where it was not asked for."""
        if self.set_level is None or self.set_coverage is None:
            return None
        promise = f"in at least {100 * self.set_coverage:.1f} % of deferred inputs"
        if self.set_level < 1:
            return f"pruned labels hold the true one {promise}"
        deferred, needed = round(self.n * (self.escalation_rate.value or 0.0)), fewest_rows(self.set_coverage)
        if deferred >= needed:
            return f"no label can be pruned: only all of them hold the true one {promise}"
        return (
            f"no label can be pruned: to have the true one among fewer {promise} takes at least {needed} deferred "
            f"tuning rows, and there are {deferred}"
        )

    def _repr_html_(self) -> str:
        return html_box(
            "Tuned threshold",
            {
                "threshold": self.threshold,
                "objective": self.objective,
                "constraints": dict(self.constraints),
                "right means": "the true label" if self.against == "labels" else "what the large model answered",
                "accuracy": f"{self.chain_accuracy} ({self.chain_accuracy.span})",
                "escalation rate": f"{self.escalation_rate} ({self.escalation_rate.span})",
                "small model alone": str(self.small_accuracy),
                "large model alone": str(self.large_accuracy),
                "last word": "the large model" if self.fusion is None else "both models, weighed",
                "tuning rows": self.n,
                "points of the curve": len(self.curve),
            },
            lead=self.meaning,
        )

    def to_frame(self) -> Any:
        """The curve as a data frame of pandas, one threshold a row.

        Raises:
            ImportError: pandas is not installed.
        """
        names = [field.name for field in fields(OperatingPoint)]
        return as_frame([asdict(point) for point in self.curve], columns=names)

    def plot(self) -> Any:
        """The curve and the chosen point, as a figure of matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dsplus_chains.evaluation.plots import tuning_plot

        right, asked = self.chain_accuracy, self.escalation_rate
        points = [asdict(point) for point in self.curve]
        return tuning_plot(points, asked.value or 0.0, right.value or 0.0, (right.low, right.high))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        # The map becomes pairs, because the keys of a JSON object cannot be numbers.
        threshold: Any = self.threshold
        if isinstance(threshold, Mapping):
            threshold = [[label, value] for label, value in threshold.items()]
        return {
            **asdict(replace(self, fusion=None, tuned_on=None)),
            "threshold": threshold,
            "meaning": self.meaning,
            "fusion": None if self.fusion is None else self.fusion.to_dict(),
            "tuned_on": None if self.tuned_on is None else self.tuned_on.to_text(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote.

        Raises:
            ValueError: A field is missing or unknown.
        """
        try:
            fields = dict(StoredTuned.model_validate(dict(data)))
        except ValidationError as error:
            msg = f"Got a tuned threshold that cannot be read ({first_fault(error)}) but expected what to_dict() writes"
            raise ValueError(msg) from error
        del fields["meaning"]  # it is made anew
        estimates = {name: Estimate(**dict(of)) for name, of in fields.items() if isinstance(of, StoredEstimate)}
        fusion = None if fields["fusion"] is None else AnswerFusion.from_dict(fields["fusion"])
        curve = tuple(OperatingPoint(**dict(point)) for point in fields["curve"])
        seen = None if fields["tuned_on"] is None else SeenTexts.from_text(fields["tuned_on"])
        found = cls(**{**fields, **estimates, "fusion": fusion, "curve": curve, "tuned_on": seen})
        if found.risk is not None and (found.risk not in _OF_RISK or "max_risk" not in found.constraints):
            known = ", ".join(_OF_RISK)
            msg = f"Got a tuned threshold of risk={shown(found.risk)} but expected one of {known} with its bound"
            raise ValueError(msg)
        return found

    def to_json(self) -> str:
        """JSON text. Numbers come back exactly."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
