"""`watch` tells whether the traffic of a chain, or what its models are worth on it, has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dsplus_chains.learning.changes import Calibration, Change, change_of_mean, change_of_share, check_calibration
from dsplus_chains.learning.decisions import answers_read, decisions_in
from dsplus_chains.learning.experience import CHOSEN_BY_ERRORS, Experience
from dsplus_chains.schema import (
    ASKED_LARGE,
    DEFERRED,
    InvalidInputError,
    brief_repr,
    check_kind,
    check_least,
    is_number,
    same_label,
    share,
    shown,
    span,
)
from dsplus_chains.storage.bundle import Bundle

FAR = 0.99
"""The share of the training examples within which an input is not far from them."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a chain does now, compared with the time before.

    Args:
        recent: Number of recent decisions.
        before: Number of decisions before them.
        others: Number of decisions of other small models, which are left out.
        since: Time of the first recent decision, in seconds since 1970.
        escalation_rate: Share of inputs that went to the large model.
        confidence: Mean confidence of the small model.
        error: Estimated share of wrong answers, by the models' own probabilities. It is the mean of 1 - confidence
            where the small model's answer stands, and of 1 - fused probability where both models were weighed. Where
            the large model's answer replaced the small one's, nothing is known.
        disagreement: Share of the large model's answers that are not the small model's. They are read as a chain reads
            them.
        far: Share of inputs that lie further from the training examples than 99 % of these do from each other. None if
            the small model looks for no neighbours.
        shift: The same share, with that of the training examples as `before`. Only a rise counts.
        calibration: What true labels say of the small model's confidence.
        alpha: Chance of any alarm at all in this report if nothing has changed.
    """

    recent: int
    before: int
    others: int
    since: float
    escalation_rate: Change
    confidence: Change
    error: Change
    disagreement: Change
    far: Change | None
    shift: Change | None
    calibration: Calibration
    alpha: float

    @property
    def changes(self) -> dict[str, Change]:
        """All figures that are known at both times, by their names for people."""
        named = {
            "escalation rate": self.escalation_rate,
            "mean confidence": self.confidence,
            "estimated error": self.error,
            "disagreement": self.disagreement,
            "far inputs": self.far,
            "shift since training": self.shift,
        }
        return {name: change for name, change in named.items() if change is not None}

    @property
    def level(self) -> float:
        """The largest p-value that is an alarm. The tests of a report share `alpha`, as Bonferroni has it."""
        return self.alpha / (len(self.changes) + 1)

    @property
    def changed(self) -> dict[str, Change]:
        """The figures that have changed by more than chance explains."""
        return {name: found for name, found in self.changes.items() if found.p_value <= self.level}

    @property
    def recalibration_due(self) -> bool:
        """Whether true labels contradict the confidence."""
        return self.calibration.p_value <= self.level

    @property
    def alarms(self) -> tuple[str, ...]:
        """What has changed by more than chance explains, one sentence each."""
        told = []
        for name, found in self.changed.items():
            verb = "rises" if found.rises else "falls"
            values = f"from {share(found.before.value)} to {share(found.recent.value)}"
            told.append(f"The figure {name!r} {verb} {values} (p = {found.p_value:.2g}).")
        if self.recalibration_due:
            checked = self.calibration
            told.append(
                f"Recalibration is due: the small model was right on {share(checked.accuracy.value)} of "
                f"{checked.accuracy.n} labelled inputs, but its confidence lets expect "
                f"{span(checked.low, checked.high)} (p = {checked.p_value:.2g})."
            )
        return tuple(told)

    def plot(self) -> Any:
        """All figures before and now, by matplotlib. Alarms stand out.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from dsplus_chains.evaluation.plots import then_and_now_plot

        known: dict[str, Any] = {
            name: [(told.value, told.low, told.high) for told in (found.before, found.recent)]
            for name, found in self.changes.items()
            if found.before.n and found.recent.n
        }
        return then_and_now_plot(known, self.changed)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            **asdict(self),
            "level": self.level,
            "recalibration_due": self.recalibration_due,
            "alarms": list(self.alarms),
        }


def watch(bundle: Bundle, experience: Any, *, window: int = 500, alpha: float = 0.01) -> Watch:
    """Compare the last decisions of a chain with those before.

    It needs no true labels. Where there are some, they check the confidence. Labels that are there because
    somebody doubted the answer do not. Their origins are "label" and "correction". Nor do inputs that the small model
    was fitted on.

    The tests take decisions as independent of each other. Who looks every day will see an alarm by chance some day. The
    chance is `alpha` a look.

    Args:
        bundle: The bundle in use. Decisions of other small models are left out.
        experience: An `ExperienceStore`, or decisions.
        window: Number of the last decisions that are compared. It is at most half of all.
        alpha: Chance of any alarm at all in this report if nothing has changed.

    Raises:
        InvalidInputError: There are fewer than two decisions of this small model, or a setting is out of range.

    Example:
        >>> watch(bundle, store).alarms  # doctest: +SKIP
        ("The figure 'escalation rate' rises from 21.4 % to 34.0 % (p = 3.1e-05).",)
    """
    check_kind("bundle", bundle, Bundle)
    check_least("window", window, 1)
    if not (is_number(alpha) and 0 < alpha < 1):
        msg = f"Got alpha={shown(alpha)} but expected a number between 0 and 1, such as 0.01"
        raise InvalidInputError(msg)
    made = [row for row in decisions_in(experience) if row.prediction is not None and row.source is not None]
    own = answers_read(_of_model(made, bundle.scorer.model_hash), bundle.task.parser)
    rows = sorted(own, key=lambda row: row.time)
    if len(rows) < 2:
        msg = (
            f"Got {len(rows)} decisions of this small model, and {len(made) - len(rows)} of others, but expected two "
            "or more; record some, with data_shunt(..., experience=store)"
        )
        raise InvalidInputError(msg)
    start = len(rows) - min(window, len(rows) // 2)
    parts = (rows[start:], rows[:start])
    far, shift = _distances(bundle, *parts)
    return Watch(
        recent=len(parts[0]),
        before=len(parts[1]),
        others=len(made) - len(rows),
        since=parts[0][0].time,
        escalation_rate=change_of_share(*([row.source in DEFERRED for row in part] for part in parts)),
        confidence=change_of_mean(*map(_confidences, parts)),
        error=change_of_mean(*map(_errors, parts)),
        disagreement=change_of_share(*map(_disagreements, parts)),
        far=far,
        shift=shift,
        calibration=_calibration(rows),
        alpha=alpha,
    )


def _of_model(rows: Sequence[Experience], model_hash: str | None) -> list[Experience]:
    """The decisions of one small model, and those of which that is not known."""
    return [row for row in rows if row.model_hash is None or row.model_hash == model_hash]


def _confidences(rows: Sequence[Experience]) -> list[float]:
    known = (None if row.prediction is None else row.prediction.confidence for row in rows)
    return [confidence for confidence in known if confidence is not None]


def _errors(rows: Sequence[Experience]) -> list[float]:
    """The chance that each answer is wrong, as far as the models tell."""
    stands = [row for row in rows if row.fused is None and row.source not in ASKED_LARGE]
    weighed = [max(row.fused.values()) for row in rows if row.fused]
    return [1 - sure for sure in (*_confidences(stands), *weighed)]


def _disagreements(rows: Sequence[Experience]) -> list[bool]:
    """Whether the models disagree, where both have said something."""
    return [
        not same_label(row.large, row.prediction.label)
        for row in rows
        if row.large is not None and row.prediction is not None and row.prediction.label is not None
    ]


def _distances(
    bundle: Bundle, recent: Sequence[Experience], before: Sequence[Experience]
) -> tuple[Change | None, Change | None]:
    """How many inputs lie far out, against the time before and against the training examples."""
    own = bundle.scorer.classifier.own_distances
    if own is None:
        return None, None
    limit = bundle.scorer.ood_limit(FAR)
    now, then = (
        [row.prediction.ood_score > limit for row in part if row.prediction and row.prediction.ood_score is not None]
        for part in (recent, before)
    )
    return change_of_share(now, then), change_of_share(now, own > limit, alternative="greater")


def _calibration(rows: Sequence[Experience]) -> Calibration:
    """What the true labels say, where no doubt has brought them. A text counts once."""
    known = {
        row.text_hash: (row.prediction.confidence, same_label(row.prediction.label, row.gold))
        for row in rows
        if row.gold is not None
        and row.gold_origin not in CHOSEN_BY_ERRORS
        and row.prediction is not None
        and row.prediction.training is None
        and row.prediction.confidence is not None
    }
    return check_calibration([sure for sure, _ in known.values()], [right for _, right in known.values()])
