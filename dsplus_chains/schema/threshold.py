"""The forms of a threshold, and the one rule by which a small model's answer is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from dsplus_chains.schema.labels import as_label, check_labels, labels_outside
from dsplus_chains.schema.prediction import Prediction
from dsplus_chains.schema.real_numbers import is_number
from dsplus_chains.schema.reprs import brief


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    number = as_label(value)
    if not is_number(number, least=0, most=1):
        shown = repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
        advice = "; give its .threshold" if hasattr(value, "threshold") else ""
        msg = f"Got {where}={shown} but expected a value in [0, 1], or None to defer everything{advice}"
        raise ValueError(msg)
    return float(number)


def as_threshold(value: Any) -> Any:
    """A threshold in the form that the rule takes. It is a number, a dict of numbers by label, or None.

    Args:
        value: One of these, or pairs of label and number, as JSON holds a dict.

    Raises:
        ValueError: It is none of these, or a number is outside [0, 1].
    """
    if isinstance(value, list) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value):
        value = dict(value)  # JSON holds it as pairs
    if isinstance(value, Mapping):
        labels = check_labels(list(value)) if value else ()
        numbers = (_number(number, f"threshold[{label!r}]") for label, number in value.items())
        return dict(zip(labels, numbers, strict=True))
    return _number(value, "threshold")


def check_threshold_labels(threshold: Any, labels: Collection[Any], *, of: str = "") -> None:
    """Refuse a threshold for a label that there is not. It would defer everything, and nobody would see why.

    Args:
        threshold: A threshold in any form.
        labels: The labels. Without them nothing is checked.
        of: What the threshold is about, for the error.

    Raises:
        ValueError: It names another label, or is no threshold.

    Example:
        >>> check_threshold_labels({"Spam": 0.9}, ["spam", "ham"])
        Traceback (most recent call last):
        ...
        ValueError: Got a threshold for ['Spam'] but expected labels among ['spam', 'ham']
    """
    level = as_threshold(threshold)
    if labels and isinstance(level, Mapping) and (unknown := labels_outside(level, list(labels))):
        msg = f"Got a threshold{of} for {unknown[:10]} but expected labels among {brief(list(labels))}"
        raise ValueError(msg)


Threshold: TypeAlias = Annotated[Any, BeforeValidator(as_threshold)]
"""A number in [0, 1], a number for each label, or None. A missing label is deferred. None defers everything."""


def threshold_for(threshold: Any, prediction: Prediction) -> float | None:
    """The number to which one prediction's confidence is compared. None means that the prediction is deferred.

    Example:
        >>> threshold_for({"spam": 0.8}, Prediction(label="spam", confidence=0.9))
        0.8
        >>> threshold_for({"spam": 0.8}, Prediction(label="ham", confidence=0.9)) is None
        True
    """
    if not isinstance(threshold, Mapping):
        common: float | None = threshold
        return common
    for label in threshold:  # all have one type, and True must not find 1
        return threshold.get(prediction.label) if type(label) is type(prediction.label) else None
    return None


def is_kept(prediction: Prediction, threshold: Any, max_ood_score: float | None = None) -> bool:
    """Whether the small model's answer stands, which needs a known confidence with ``confidence >= threshold``.

    A prediction without a label is never kept. With `max_ood_score`, the input's distance to the training examples must
    also be known, and at most that large.

    Args:
        prediction: The small model's prediction.
        threshold: A number, a dict of numbers by label, or None. None keeps nothing.
        max_ood_score: The largest distance at which an answer is kept. None allows any distance.

    Source: Data Shunt (arXiv 2406.15471), the routing rule. A missing confidence is deferred, never kept.

    Example:
        >>> is_kept(Prediction(label="spam", confidence=0.9), 0.9), is_kept(Prediction(label="spam"), 0.0)
        (True, False)
        >>> is_kept(Prediction(label=True, confidence=0.95), {1: 0.9, 0: 0.9})
        False
    """
    least, confidence = threshold_for(threshold, prediction), deciding_confidence(prediction, max_ood_score)
    return least is not None and confidence is not None and confidence >= least


def deciding_confidence(prediction: Prediction, max_ood_score: float | None = None) -> float | None:
    """The confidence that a threshold decides by. None if the prediction is deferred at any threshold.

    That is so without a label, without a confidence, and too far from the training examples.

    Args:
        prediction: The small model's prediction.
        max_ood_score: The largest distance at which an answer is kept. None allows any distance.

    Example:
        >>> far = Prediction(label="spam", confidence=0.9, ood_score=0.7)
        >>> deciding_confidence(far), deciding_confidence(far, 0.5) is None
        (0.9, True)
    """
    if prediction.label is None:
        return None
    if max_ood_score is not None and (prediction.ood_score is None or prediction.ood_score > max_ood_score):
        return None
    return prediction.confidence
