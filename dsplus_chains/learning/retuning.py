"""The threshold of a chain whose small model has learned: the same accuracy for fewer calls, or more accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from dsplus_chains.learning.student import FEWEST_TUNING_ROWS, Learned
from dsplus_chains.schema import brief_repr
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.tuning.threshold_tuning import tune_threshold
from dsplus_chains.tuning.tuned import TunedThreshold

Aim: TypeAlias = Literal["calls", "accuracy"]
"""What learning is spent on."""

MARGIN = 0.5
"""By how many standard errors a cheaper point must be more accurate than the chain was."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class TunedFor:
    """What a chain was tuned for before it learned anything. It is kept over all rounds of learning.

    Args:
        objective: What was optimised.
        constraints: The bounds.
        accuracy: Accuracy of the chain on its tuning rows.
        escalation_rate: Share of these rows that was deferred.
        set_coverage: How often label pruning leaves the true label. None where it was not asked for.
        min_gain: What a call had to gain for the objective "accuracy".
        per_label: Whether each label had a threshold of its own.
        data_hash: Hash of the rows of the last tuning. A bundle that was tuned otherwise since has another one.
    """

    objective: str
    constraints: dict[str, float]
    accuracy: float
    escalation_rate: float
    set_coverage: float | None
    min_gain: float
    per_label: bool
    data_hash: str

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """What a bundle was tuned for. None for one that was never tuned by labels."""
        tuned = bundle.tuned
        if tuned is None or tuned.against != "labels":
            return None
        accuracy, escalation_rate = tuned.chain_accuracy.value, tuned.escalation_rate.value
        if accuracy is None or escalation_rate is None:
            return None
        known = bundle.metadata.get("learned", {}).get("tuned_for")
        if known is not None and known["data_hash"] == tuned.data_hash:
            return cls(**known)
        constraints, objective = dict(tuned.constraints), tuned.objective
        if constraints.pop("max_cost", None) is not None:  # its unit is not known here, but what it allowed is
            constraints["max_escalation"] = min(escalation_rate, constraints.get("max_escalation", 1.0))
            objective = "max_escalation" if objective == "max_cost" else objective
        return cls(
            objective=objective,
            constraints=constraints,
            accuracy=accuracy,
            escalation_rate=escalation_rate,
            set_coverage=tuned.set_coverage,
            min_gain=tuned.min_gain,
            per_label=isinstance(tuned.threshold, Mapping),
            data_hash=tuned.data_hash,
        )

    def after(self, tuned: TunedThreshold) -> dict[str, Any]:
        """The same as plain data, for a bundle that was tuned anew."""
        return {**asdict(self), "data_hash": tuned.data_hash}


def tuned_anew(
    learned: Learned,
    was: TunedFor | None,
    *,
    aim: Aim = "calls",
    min_gain: float = 0.05,
    seed: int = 0,
) -> TunedThreshold | None:
    """The threshold for a small model that has learned, by the labelled rows that the large model has answered.

    Args:
        learned: What was learned.
        was: What the chain was tuned for.
        aim: With "accuracy" it is tuned for the same again. With "calls" it takes the cheapest point that is more
            accurate on these rows than the chain was, by half a standard error. There are at most 200 points. The
            cheapest of many looks better there than it is. If there is no such point, it takes the most accurate one
            that defers no more than the chain did. So the bill does not rise.
        min_gain: What a call must gain for the objective "accuracy", if the chain was not tuned before.
        seed: Seed of the bootstrap and the folds.

    Returns:
        None with fewer than 50 such rows, or if the chain was certified. A certificate is about one small model, and
        cannot come from rows that trained it.
    """
    gold, views = learned.lesson.gold, learned.scorer.out_of_fold
    rows = learned.lesson.answered
    if views is None or len(rows) < FEWEST_TUNING_ROWS or (was is not None and "max_risk" in was.constraints):
        return None

    def tune(**how: Any) -> TunedThreshold:
        return tune_threshold(
            [views[row] for row in rows],
            [gold[row].label for row in rows],
            [gold[row].answer for row in rows],
            texts=[gold[row].text for row in rows],
            large_confidences=[gold[row].confidence for row in rows],
            out_of_fold=True,
            set_coverage=None if was is None else was.set_coverage,
            seed=seed,
            **how,
        )

    same: dict[str, Any] = {"min_gain": min_gain}
    if was is not None:
        same = {"objective": was.objective, "min_gain": was.min_gain, "per_label": was.per_label, **was.constraints}
    tuned = tune(fusion="auto", **same)
    if aim == "accuracy" or was is None or tuned.escalation_rate.value is None:
        return tuned
    wanted = was.accuracy + MARGIN * (was.accuracy * (1 - was.accuracy) / len(rows)) ** 0.5
    enough = [point.escalation_rate for point in tuned.curve if point.accuracy >= wanted]
    most = min([*enough, was.escalation_rate])
    if most >= tuned.escalation_rate.value:
        return tuned
    last_word = "replace" if tuned.fusion is None else "posterior"
    return tune(fusion=last_word, objective="max_escalation", max_escalation=most)
