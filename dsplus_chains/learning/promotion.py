"""`promote`: a candidate replaces the incumbent only where labelled rows show that it is better and harms no class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.learning.bootstrapping import is_labelled_by_large
from dsplus_chains.learning.judging import Judgement, judge, spent_level
from dsplus_chains.schema import InvalidInputError, Label, brief_repr, check_kind, check_least, is_number, shown
from dsplus_chains.scoring.held_out import HeldOut
from dsplus_chains.storage.bundle import Bundle

FEWEST_ROWS = 50
"""Smallest number of labelled rows that both models are compared on."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The decision on a candidate.

    Args:
        promoted: Whether the candidate may replace the incumbent.
        bundle: The bundle to go on with.
        judgement: The numbers.
        harmed: The labels that fall.
        reasons: What speaks against the candidate. There is nothing if it is promoted.
        look: How often the labelled rows have been looked at, this time included.
        time: When it was decided, as ISO 8601 in UTC.
    """

    promoted: bool
    bundle: Bundle
    judgement: Judgement
    harmed: tuple[Label, ...]
    reasons: tuple[str, ...]
    look: int
    time: str

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain data, without the bundle."""
        told = {**asdict(self.judgement), "harmed": list(self.harmed)}
        return {"time": self.time, "promoted": self.promoted, "look": self.look, "reasons": list(self.reasons), **told}


def promote(candidate: Bundle, incumbent: Bundle, *, alpha: float = 0.05, look: int = 1) -> Promotion:
    """Decide whether a candidate may replace the incumbent.

    Both are compared on the labelled rows that both were fitted on, by their out-of-fold predictions. The candidate
    must be better in log loss, beyond chance. Its accuracy may not be more than a point lower. And no class may fall
    on whose rows the incumbent was right at least half of the time. What is only not shown to be worse is refused.

    What a large model has answered is no truth. If one of both was fitted on that alone, the labels are those of the
    other.

    Args:
        candidate: The bundle that has learned. See `learn`.
        incumbent: The bundle before it.
        alpha: Chance that in all looks together a candidate is promoted that is not better.
        look: How often these labelled rows have been looked at, this time included. `Versions` counts.

    Raises:
        InvalidInputError: The bundles have other labels, or fewer than 50 labelled rows in common, or none of both has
            a true label. Or an argument is of another kind.

    Source: the levels of repeated looks are an alpha spending of 6 / (pi * look) ** 2, which sums to `alpha`.
    """
    for name, bundle in (("candidate", candidate), ("incumbent", incumbent)):
        check_kind(name, bundle, Bundle)
    check_least("look", look, 1)
    if not (is_number(alpha) and 0 < alpha < 1):
        msg = f"Got alpha={shown(alpha)} but expected a number between 0 and 1, such as 0.05"
        raise InvalidInputError(msg)
    old, new = _held_out(incumbent, "incumbent"), _held_out(candidate, "candidate")
    if candidate.scorer.labels != incumbent.scorer.labels:
        msg = "Got a candidate and an incumbent with other labels but expected the same, in the same order"
        raise InvalidInputError(msg)
    common, mine, theirs = np.intersect1d(old.texts, new.texts, return_indices=True)
    true = [held.targets[rows] for held, rows in _with_truth((incumbent, old, mine), (candidate, new, theirs))]
    agreeing = true[0] == true[-1]
    mine, theirs, targets = mine[agreeing], theirs[agreeing], true[0][agreeing]
    if len(mine) < FEWEST_ROWS:
        msg = (
            f"Got {len(common)} labelled texts that both models know, {len(mine)} of them with the same label, but "
            f"expected {FEWEST_ROWS} or more; learn with gold= from the rows that the incumbent was fitted on"
        )
        raise InvalidInputError(msg)
    found = judge(old.logs[mine], new.logs[theirs], targets, level=spent_level(alpha, look))
    labels = incumbent.scorer.labels
    return Promotion(
        promoted=not found.reasons,
        bundle=incumbent if found.reasons else candidate,
        judgement=found,
        harmed=tuple(labels[number] for number in found.harmed),
        reasons=found.reasons,
        look=look,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _with_truth(*known: tuple[Bundle, HeldOut, NDArray[np.intp]]) -> list[tuple[HeldOut, NDArray[np.intp]]]:
    """Those whose labels are true, each with its rows.

    Raises:
        InvalidInputError: There are none.
    """
    found = [(held, rows) for bundle, held, rows in known if not is_labelled_by_large(bundle)]
    if not found:
        msg = (
            "Got two bundles that were fitted on what the large model answered, which tells of no truth, but expected "
            "labelled rows to judge by; learn with gold=(texts, labels)"
        )
        raise InvalidInputError(msg)
    return found


def _held_out(bundle: Bundle, name: str) -> HeldOut:
    """The out-of-fold predictions of a bundle's small model.

    Raises:
        InvalidInputError: There are none.
    """
    if bundle.scorer.held_out is None:
        msg = f"Got an {name} without out-of-fold predictions but expected some; fit it anew, on 50 examples or more"
        raise InvalidInputError(msg.replace("an candidate", "a candidate"))
    return bundle.scorer.held_out
