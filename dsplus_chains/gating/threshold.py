"""Thresholds: what they may be, and which predictions they keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from dsplus_chains.labels import as_label, check_labels
from dsplus_chains.schema import Prediction


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    number = as_label(value)
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not 0 <= number <= 1:
        shown = repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
        advice = "; give its .threshold" if hasattr(value, "threshold") else ""
        msg = f"Got {where}={shown} but expected a value in [0, 1], or None to defer everything{advice}"
        raise ValueError(msg)
    return float(number)


def _threshold(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value):
        value = dict(value)  # as it is written to JSON
    if isinstance(value, Mapping):
        labels = check_labels(list(value)) if value else ()
        numbers = (_number(number, f"threshold[{label!r}]") for label, number in value.items())
        return dict(zip(labels, numbers, strict=True))
    return _number(value, "threshold")


Threshold: TypeAlias = Annotated[Any, BeforeValidator(_threshold)]
"""A number in [0, 1], or a number per label (a label that is not in it defers), or None (defer everything)."""


def threshold_for(threshold: Any, prediction: Prediction) -> float | None:
    """The number that one prediction's confidence is held against; None defers it.

    Example:
        >>> threshold_for({"spam": 0.8}, Prediction(label="spam", confidence=0.9))
        0.8
        >>> threshold_for({"spam": 0.8}, Prediction(label="ham", confidence=0.9)) is None
        True
    """
    if not isinstance(threshold, dict):
        common: float | None = threshold
        return common
    for label in threshold:  # all of one type; True must not find 1
        return threshold.get(prediction.label) if type(label) is type(prediction.label) else None
    return None


def keeps(prediction: Prediction, threshold: float | None, max_ood_score: float | None = None) -> bool:
    """Whether the small model's answer stands: iff its confidence is known and ``confidence >= threshold``.

    With `max_ood_score`, the input must also be known to lie within that distance of the training examples.

    Source: Data Shunt (arXiv 2406.15471), the routing rule; a missing confidence is deferred, never kept.

    Example:
        >>> keeps(Prediction(label="spam", confidence=0.9), 0.9), keeps(Prediction(label="spam"), 0.0)
        (True, False)
    """
    return (
        threshold is not None
        and prediction.label is not None
        and prediction.confidence is not None
        and prediction.confidence >= threshold
        and (max_ood_score is None or (prediction.ood_score is not None and prediction.ood_score <= max_ood_score))
    )
