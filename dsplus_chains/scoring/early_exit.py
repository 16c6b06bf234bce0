"""`EarlyExit` lets the lexical member answer alone where it is sure, so that the text is not encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dsplus_chains.calibration.risk import certify, excess_p_value
from dsplus_chains.schema import BundleError, Stored, brief_repr, percent, share
from dsplus_chains.scoring.members.member import Arrays
from dsplus_chains.scoring.members.mixing import Logs, mix, mixing_weights
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

MAX_LOSS = 0.005
"""Most accuracy that early answers may cost, over all inputs."""
LEVEL = 0.95
"""Confidence that they cost no more."""
STEPS = 50
"""Number of thresholds that are tried, each of which lets as many more examples exit."""


def exit_threshold(
    confidences: NDArray[np.float64],
    early_right: NDArray[np.bool_],
    whole_right: NDArray[np.bool_],
    *,
    max_loss: float = MAX_LOSS,
    level: float = LEVEL,
) -> float | None:
    """The lowest confidence at which early answers stand, so that the whole loses little accuracy by them.

    Thresholds are tested one after the other, from few early answers to many, until one cannot be certified. So the
    chance that the loss is larger than `max_loss` is at most 1 - `level`. The mean loss on the same rows would promise
    more than it keeps, because the threshold is chosen by it.

    Args:
        confidences: The early confidence of each row, from a fit that had not seen the row.
        early_right: Whether the early answer is right.
        whole_right: Whether the answer of the whole model is right.
        max_loss: Most accuracy that may be lost over all rows.
        level: Confidence level in (0, 1).

    Returns:
        The threshold. 0 if all rows may exit. None if none may, as with fewer than 740 rows.

    Source: fixed-sequence testing in Learn then Test (arXiv 2110.01052, section 2.2), with `excess_p_value`. Early
    exits with a bound on what they cost: Schuster et al., "Confident Adaptive Language Modeling" (arXiv 2207.07061).

    Example:
        >>> sure, rows = np.linspace(0, 1, 4000), np.arange(4000)
        >>> right = np.ones(4000, dtype=bool)
        >>> round(exit_threshold(sure, rows > 1000, right), 2)  # the early answer is wrong for the first 1,001 rows
        0.26
        >>> exit_threshold(sure, right, right), exit_threshold(sure[:99], right[:99], right[:99])
        (0.0, None)
    """
    if not len(confidences):
        return None
    cuts = np.unique(np.quantile(confidences, np.linspace(0, 1, STEPS + 1), method="higher"))[::-1]
    exits = confidences >= cuts[:, None]
    worse, better = ((exits & rows).sum(axis=1) for rows in (whole_right & ~early_right, early_right & ~whole_right))
    first = np.arange(len(cuts)) == 0
    passed = certify(excess_p_value(worse, better, len(confidences), max_loss), first, 1 - level)
    if passed.all():
        return 0.0
    return float(cuts[passed].min()) if passed.any() else None


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class EarlyExit:
    """When the answer of the lexical member stands.

    The bound is about accuracy. An early answer is less sure than the whole model's would be, though it is calibrated.
    So a chain with a strict threshold defers more, and where calls are dear the default model may be cheaper.

    Args:
        weight: The inverse temperature of the member where it is alone.
        threshold: The least confidence at which its answer stands. None means that it never does.
        taken: Share of the examples that it answered out of fold.
        novelties: How new the words of each example were to the others, rising. See `own_novelties`.
    """

    weight: float
    threshold: float | None
    taken: float
    novelties: NDArray[np.float64]

    @classmethod
    def fit(cls, early: Logs, whole: Logs, targets: NDArray[np.int64], novelties: NDArray[np.float64]) -> Self:
        """Choose the threshold.

        Args:
            early: Log-probabilities of the lexical member, of shape [n, classes], for rows it was not trained on.
            whole: Those of the whole model.
            targets: The class number of each row.
            novelties: How new the words of each row are to the others.
        """
        weights = mixing_weights([early], targets)
        logs = mix([early], weights)
        right, whole_right = (table.argmax(axis=1) == targets for table in (logs, whole))
        threshold = exit_threshold(_confidences(logs), right, whole_right)
        found = cls(weight=float(weights[0]), threshold=threshold, taken=0.0, novelties=np.sort(novelties))
        taken = float(found.stands(logs).mean())
        return cls(weight=found.weight, threshold=threshold, taken=taken, novelties=found.novelties)

    def logs(self, early: Logs) -> Logs:
        """What the lexical member says by itself, calibrated, of shape [..., classes]."""
        return mix([early], np.array([self.weight]))

    def stands(self, logs: Logs) -> NDArray[np.bool_]:
        """Whether each row of `logs` is sure enough."""
        sure = _confidences(logs)
        return np.zeros(sure.shape, dtype=np.bool_) if self.threshold is None else sure >= self.threshold

    def merged(self, early: Logs, whole: Logs) -> Logs:
        """What both stages say together: the early answer where it stands, else the whole model's."""
        logs = self.logs(early)
        return np.where(self.stands(logs)[..., None], logs, whole)

    @property
    def answers_all(self) -> bool:
        """Whether nothing is left for the other members."""
        return self.threshold == 0

    def distances(self, novelties: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances from the training examples for texts that are not encoded, on the scale of those that are.

        A text whose words are newer than those of 99 of 100 examples gets the distance that 99 of 100 do not exceed.

        Args:
            novelties: How new the words of each text are.
            own: Distances of the training examples from one another, rising.
        """
        beyond = np.maximum(novelties - self.novelties[-1], 0)
        ranks = np.searchsorted(self.novelties, novelties) / max(len(self.novelties) - 1, 1)
        found: NDArray[np.float64] = np.quantile(own, ranks.clip(0, 1), method="lower") + beyond
        return found

    @property
    def line(self) -> str:
        """What it does, in a line of text."""
        if self.threshold is None:
            return "early exit: none, because too few examples show that it would cost little"
        told = f"early exit: the lexical member alone answers {share(self.taken)} of the examples"
        return f"{told}, which costs at most {share(MAX_LOSS)} of the accuracy ({percent(LEVEL)} sure)"

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        settings = {"weight": self.weight, "threshold": self.threshold, "taken": self.taken}
        return settings, {"novelties": self.novelties}

    @classmethod
    def from_state(cls, settings: StoredExit, arrays: StoredArrays) -> Self:
        """The stage from its state.

        Raises:
            BundleError: The array is missing, or another one.
        """
        novelties = arrays.floats("novelties", (None,)).astype(np.float64)
        if (np.diff(novelties, prepend=0.0) < 0).any():
            msg = "Got novelties that fall, or are below 0; the scorer is damaged, fit it anew"
            raise BundleError(msg)
        return cls(**dict(settings), novelties=novelties)


class StoredExit(Stored):
    """An early exit, as a file holds it."""

    weight: float = Field(gt=0)
    threshold: float | None = Field(ge=0, le=1)
    taken: float = Field(ge=0, le=1)


def _confidences(logs: Logs) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(logs.max(axis=-1))
    return result
