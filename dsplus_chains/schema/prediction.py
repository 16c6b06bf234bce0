"""`Prediction` is a small model's answer to one input, and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, field_validator, model_validator
from typing_extensions import override

from dsplus_chains.schema.cells import as_cell, is_missing
from dsplus_chains.schema.labels import Label, as_label
from dsplus_chains.schema.probabilities import ReadOnlyDict, probability
from dsplus_chains.schema.value import Value
from dsplus_chains.schema.wording import percent, shown


def as_confidence(value: Any) -> float | None:
    """A confidence as a number, or None if it is missing.

    Raises:
        ValueError: It is no number in [0, 1].

    Example:
        >>> as_confidence(0.9), as_confidence(float("nan"))
        (0.9, None)
    """
    if is_missing(value):
        return None
    if isinstance(value, (str, bytes, bool)):
        msg = f"Got confidence={shown(value)} but expected a number in [0, 1] or None"
        raise ValueError(msg)  # noqa: TRY004  pydantic turns ValueError, not TypeError, into its own error
    return probability(value, "confidence")


def _label(value: Any) -> Any:
    """A label as a plain value, or None. A text is a label even if it is blank."""
    return as_label(value) if isinstance(value, str) else as_cell(value)


def _distance(value: Any) -> float | None:
    plain = as_cell(value)
    if plain is None:
        return None
    if not isinstance(plain, (float, int)) or isinstance(plain, bool) or plain < 0:
        msg = f"Got ood_score={shown(value)} but expected a number of at least 0, or None"
        raise ValueError(msg)
    return float(plain)


def _dumped(probabilities: Mapping[Any, Any] | None, info: SerializationInfo) -> Any:
    if probabilities is None:
        return None
    return list(probabilities.items()) if info.mode == "json" else dict(probabilities)


Confidence: TypeAlias = Annotated[float | None, BeforeValidator(as_confidence)]
"""A probability of being right, in [0, 1]. None means unknown, and NaN becomes None."""

Training: TypeAlias = Literal["seen", "out_of_fold", "copy"]
"""How a small model knows an input from its training. "seen": it was fitted on it, so its confidence is too high.
"out_of_fold": another fit, which had not seen it, made the prediction. "copy": the same, but an earlier row holds a
copy of the input, which counts already."""


Stage: TypeAlias = Literal["early", "whole"]
"""Which part of a small model answered. "early": its lexical member alone, which was sure. "whole": all members."""


class Prediction(Value):
    """A small model's answer to one input.

    Give it a `label`, or a `value`. A label is its own value. Any other JSON value, such as a number or an object, gets
    its canonical text as its label.

    Args:
        label: The most likely label, or None if the small model has none.
        value: The small model's answer. By default it is the label.
        confidence: The probability, in [0, 1], that the answer is right. NaN becomes None. Rounding error of up to 1e-6
            beyond the interval is clipped.
        probabilities: The probability of every label, read-only. Pairs are accepted too. JSON holds it as pairs,
            because the keys of a JSON object cannot be numbers.
        ood_score: Distance of the input from the small model's training data, at least 0. None if the model does not
            say.
        training: How the small model knows the input from its training; see `Training`. None if it does not.
        stage: Which part of the small model answered; see `Stage`. None for a model without an early exit.

    Raises:
        pydantic.ValidationError: A probability is outside [0, 1], or a label is no string, integer or boolean.

    Example:
        >>> prediction = Prediction(label="negative", confidence=0.97)
        >>> f"known so far: {prediction}"
        'known so far: negative (97 %)'
        >>> total = Prediction(value={"total": 12.5}, confidence=0.9)
        >>> total.label, total.value
        ('{"total": 12.5}', {'total': 12.5})
    """

    label: Label | None
    value: Any = None
    confidence: Confidence = None
    probabilities: Annotated[Mapping[Any, Any] | None, PlainSerializer(_dumped)] = None
    ood_score: Annotated[float | None, BeforeValidator(_distance)] = None
    training: Training | None = None
    stage: Stage | None = None

    @model_validator(mode="before")
    @classmethod
    def _value_and_label(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if "value" in data:
            return data if "label" in data else {**data, "label": canonical_text(data["value"])}
        if "label" not in data:
            return data
        label = _label(data["label"])
        return {**data, "label": label, "value": label}

    @field_validator("probabilities", mode="plain")
    @classmethod
    def _freeze(cls, value: Any) -> Mapping[Any, float] | None:
        if type(value) is ReadOnlyDict:
            frozen: Mapping[Any, float] = value
            return frozen
        if is_missing(value):
            return None
        if not isinstance(value, (Mapping, list, tuple)):
            msg = f"Got probabilities={shown(value)} but expected one probability for each label, as a dict"
            raise ValueError(msg)  # noqa: TRY004
        pairs = value.items() if isinstance(value, Mapping) else value
        checked = {}
        for key, number in pairs:
            label = _label(key)
            if not isinstance(label, (str, int)):
                msg = f"Got the label {shown(key)} ({type(key).__name__}) but expected a string, integer or boolean"
                raise ValueError(msg)  # noqa: TRY004
            checked[label] = probability(number, f"probabilities[{label!r}]")
        return ReadOnlyDict(checked)

    @property
    @override
    def lc_attributes(self) -> dict[str, Any]:
        return {} if self.probabilities is None else {"probabilities": [[k, v] for k, v in self.probabilities.items()]}

    def __add__(self, later: Self) -> Self:
        """The later of two predictions.

        A stream is the sum of its chunks, and a later tier replaces an earlier one.
        """
        return later if isinstance(later, Prediction) else NotImplemented

    @override
    def __str__(self) -> str:
        return f"{'unknown' if self.label is None else str(self.label)} ({percent(self.confidence)})"


def canonical_text(value: Any) -> Any:
    """The label that stands for a value. It is a label itself, or the value as JSON with its keys in order.

    Args:
        value: Any JSON value, or None.

    Raises:
        ValueError: It is no JSON value.

    Example:
        >>> canonical_text("spam"), canonical_text(2.5), canonical_text({"b": 1, "a": [True]})
        ('spam', '2.5', '{"a": [true], "b": 1}')
    """
    plain = as_label(value)
    if plain is None or isinstance(plain, (str, int)):
        return plain
    try:
        return json.dumps(plain, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"Got value={shown(value)} ({type(value).__name__}) but expected a JSON value ({error})"
        raise ValueError(msg) from error
