"""What a model says of one input: predictions, answers, and how sure it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from langchain_core.load.serializable import Serializable
from langchain_core.messages.ai import UsageMetadata
from pydantic import BeforeValidator, ConfigDict, PlainSerializer, field_validator
from typing_extensions import override

from dsplus_chains.labels import Label, as_label

ROUNDING = 1e-6
"""How far beyond [0, 1] a probability may lie and still count as rounding error (a sum of float32)."""


def shorten(text: str, width: int) -> str:
    """The beginning of a text that is longer than `width` characters, and a sign that it goes on."""
    return text if len(text) <= width else f"{text[:width].rstrip()}…"


def percent(confidence: float | None) -> str:
    """A probability for people (and prompts): whole percents, never rounded to certainty.

    Example:
        >>> percent(0.973), percent(0.9999), percent(0.001), percent(None)
        ('97 %', 'over 99 %', 'under 1 %', 'confidence unknown')
    """
    if confidence is None:
        return "confidence unknown"
    rounded = round(100 * confidence)
    if rounded == 100 and confidence < 1:
        return "over 99 %"
    return "under 1 %" if rounded == 0 and confidence > 0 else f"{rounded} %"


class _ReadOnlyDict(dict[Any, Any]):
    """A dict that refuses to change. (`types.MappingProxyType` can neither be pickled nor copied)."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        msg = "a Prediction is read-only; build a new one"
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _ReadOnlyDict, (dict(self),)


def _probability(value: Any, what: str) -> float:
    try:
        number = float(value)
    except TypeError:
        number = math.nan
    if not -ROUNDING <= number <= 1 + ROUNDING:
        msg = f"Got {what}={value!r} but expected a probability in [0, 1]"
        raise ValueError(msg)
    return min(max(number, 0.0), 1.0)


def _confidence(value: Any) -> float | None:
    if isinstance(value, (str, bytes, bool)):
        msg = f"Got confidence={value!r} but expected a number in [0, 1] or None"
        raise ValueError(msg)  # noqa: TRY004  pydantic turns ValueError, not TypeError, into its own error
    if value is None or (isinstance(value, (float, int)) and math.isnan(value)):
        return None
    value = as_label(value)
    return None if isinstance(value, float) and math.isnan(value) else _probability(value, "confidence")


def _distance(value: Any) -> float | None:
    plain = as_label(value)
    if plain is None or (isinstance(plain, float) and math.isnan(plain)):
        return None
    if not isinstance(plain, (float, int)) or isinstance(plain, bool) or plain < 0:
        msg = f"Got ood_score={value!r} but expected a number of at least 0, or None"
        raise ValueError(msg)
    return float(plain)


Confidence: TypeAlias = Annotated[float | None, BeforeValidator(_confidence)]
"""A probability of being right, in [0, 1]; None where it is not known (a NaN becomes None)."""


class Value(Serializable):
    """A frozen value that LangChain can serialise."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True


class Prediction(Value):
    """What the small model says of one input.

    Args:
        label: The most likely label, or None if the small model has none.
        confidence: The probability, in [0, 1], that `label` is right. NaN becomes None, and rounding error
            of up to 1e-6 beyond the interval is clipped.
        probabilities: The probability of every label, read-only; also accepted as pairs, which is how it is
            written to JSON, where the keys of an object could not be numbers.
        ood_score: How far the input is from what the small model was trained on, at least 0; None if it does not say.

    Raises:
        pydantic.ValidationError: A probability outside [0, 1], or a label that is no string, integer or boolean.

    Example:
        >>> prediction = Prediction(label="negative", confidence=0.97)
        >>> f"known so far: {prediction}"
        'known so far: negative (97 %)'
    """

    label: Label | None
    confidence: Confidence = None
    probabilities: Annotated[
        Mapping[Any, Any] | None, PlainSerializer(lambda value: value and list(value.items()), when_used="json")
    ] = None
    ood_score: Annotated[float | None, BeforeValidator(_distance)] = None

    @field_validator("probabilities", mode="plain")
    @classmethod
    def _freeze(cls, value: Any) -> _ReadOnlyDict | None:
        if value is None or type(value) is _ReadOnlyDict:
            return value
        if not isinstance(value, (Mapping, list, tuple)):
            msg = f"Got probabilities={value!r} but expected one probability for each label, as a dict"
            raise ValueError(msg)  # noqa: TRY004
        pairs = value.items() if isinstance(value, Mapping) else value
        frozen = {}
        for key, probability in pairs:
            label = as_label(key)
            if not isinstance(label, (str, int)):
                msg = f"Got the label {key!r} ({type(key).__name__}) but expected a string, integer or boolean"
                raise ValueError(msg)  # noqa: TRY004
            frozen[label] = _probability(probability, f"probabilities[{label!r}]")
        return _ReadOnlyDict(frozen)

    @property
    @override
    def lc_attributes(self) -> dict[str, Any]:
        return {} if self.probabilities is None else {"probabilities": [[k, v] for k, v in self.probabilities.items()]}

    def __add__(self, later: Self) -> Self:
        """The later of two predictions: a stream is the sum of its chunks, and a later tier replaces an earlier."""
        return later if isinstance(later, Prediction) else NotImplemented

    @override
    def __str__(self) -> str:
        return f"{'unknown' if self.label is None else self.label} ({percent(self.confidence)})"


class Explanation(Value):
    """Why the large model overrode the small one, in its own words; see `OverrideExplainer`.

    Args:
        text: What it said; None if it failed.
        error: Why there is no text.
        usage: The tokens of this call, where the provider tells them.
    """

    text: str | None = None
    error: str | None = None
    usage: UsageMetadata | None = None

    @override
    def __str__(self) -> str:
        return self.text or f"no explanation: {self.error}"


class LargeAnswer(Value):
    """What the large model itself said of one input, before any fusion.

    Args:
        value: Its answer; None if it failed before it said anything that counts as one.
        confidence: Its own confidence in [0, 1], where the provider tells it, else None.
        usage: The tokens of all its calls for this input, else None.
        explanation: Why it overrode the small model, if it was asked.
    """

    value: Any = None
    confidence: Confidence = None
    usage: UsageMetadata | None = None
    explanation: Explanation | None = None
