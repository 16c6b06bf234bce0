"""Makes a classifier again from its state. Everything is checked, because somebody else may have written it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.calibration_maps import Calibration, calibration_from_dict
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.schema import BundleError, shown
from dsplus_chains.scoring.early_exit import EarlyExit
from dsplus_chains.scoring.ensemble import EnsembleClassifier
from dsplus_chains.scoring.member_report import MemberReport
from dsplus_chains.scoring.members.fitting import MEMBERS
from dsplus_chains.scoring.members.stored_arrays import StoredArrays
from dsplus_chains.scoring.state import StoredClassifier
from dsplus_chains.scoring.stored_encoder import check_probe


def restore_classifier(
    settings: StoredClassifier,
    arrays: dict[str, NDArray[Any]],
    find_encoder: Callable[[], Encoder],
    *,
    n_classes: int,
) -> EnsembleClassifier:
    """The classifier from its state. The encoder is found last, once everything else is known to be sound.

    Args:
        settings: The settings.
        arrays: The arrays.
        find_encoder: A function that finds the encoder.
        n_classes: Number of labels.

    Raises:
        BundleError: A member is unknown, the parts do not fit each other, or the encoder is another one.
        ValueError: A setting is missing, or out of range.
    """
    stored = StoredArrays(arrays=arrays, n_classes=n_classes, width=len(arrays.get("probe", ())))
    expected, weights = stored.floats("probe", (None,)), stored.floats("weights", (len(settings.members),))
    members, reports = [], []
    for number, entry in enumerate(settings.members):
        if entry.kind not in MEMBERS:
            msg = f"Got a member of kind {shown(entry.kind)} but this version knows {sorted(MEMBERS)}; fit anew"
            raise BundleError(msg)
        members.append(MEMBERS[entry.kind].from_state(entry.settings, stored.part(f"{number}.")))
        worth = {} if entry.report is None else dict(entry.report)
        reports.append(MemberReport.of(members[-1], weight=float(weights[number]), **worth))
    distances = stored.floats("own_distances", (None,)) if stored.has("own_distances") else None
    calibrator = None if settings.calibration is None else calibration_from_dict(settings.calibration)
    _check_numbers(weights, distances, calibrator, n_classes)
    early = settings.early_exit
    if early is not None and not any(entry.kind == "lexical" for entry in settings.members):
        msg = "Got an early exit without a lexical member, which takes it; the scorer is damaged, fit it anew"
        raise BundleError(msg)
    restored = EnsembleClassifier(
        encoder=find_encoder(),
        members=tuple(members),
        weights=weights,
        reports=tuple(reports),
        calibrator=calibrator,
        own_distances=distances,
        early_exit=None if early is None else EarlyExit.from_state(early, stored.part("early_exit.")),
    )
    check_probe(restored.encoder, expected, told=settings)
    return restored


def _check_numbers(
    weights: NDArray[Any], distances: NDArray[Any] | None, calibrator: Calibration | None, n_classes: int
) -> None:
    """Refuse numbers that no fit leads to.

    Raises:
        BundleError: There are some.
        ValueError: The calibration is that of another number of labels.
    """
    fault = None if (weights > 0).all() else "a weight that is not above 0"
    if distances is not None and (np.diff(distances, prepend=0.0) < 0).any():
        fault = "distances that fall, or are below 0"
    even = np.full((1, n_classes), -np.log(n_classes))
    if calibrator is not None and not np.isfinite(calibrator.apply_log(even)).all():
        fault = "a calibration that leads to no probabilities"
    if fault is not None:
        msg = f"Got {fault} but expected what a fit leads to; the scorer is damaged, fit it anew"
        raise BundleError(msg)
