"""Tries the options of tuning before a large model is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsplus_chains.schema import Label, Prediction
from dsplus_chains.tuning.threshold_tuning import tune_threshold


def rehearse(labels: Sequence[Label], **options: Any) -> None:
    """Refuse options with which tuning on these rows would fail, whatever the models answer.

    It tunes as if both models were always right. What cannot be met even then can never be met, such as a guarantee
    for which there are too few rows.

    Args:
        labels: The true labels.
        **options: The options of `tune_threshold`.

    Raises:
        ValueError: A bound is out of range or missing for its objective.
        InfeasibleTargetError: No threshold would meet the bounds.

    Example:
        >>> rehearse(["ham", "spam"] * 5, objective="max_risk")
        Traceback (most recent call last):
        ...
        ValueError: Got objective='max_risk' without a bound but expected max_risk=... beside it
    """
    names = list(dict.fromkeys(labels))
    right = {
        label: Prediction(label=label, confidence=1.0, probabilities={name: float(name == label) for name in names})
        for label in names
    }
    tune_threshold([right[label] for label in labels], labels, labels, **options)
