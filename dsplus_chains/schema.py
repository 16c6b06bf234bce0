"""What flows through a chain: the record, predictions, answers, and the errors that a user may meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import indent
from typing import Annotated, Any, NotRequired, Self, TypeAlias, TypeGuard

from langchain_core.load.serializable import Serializable
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables.utils import AddableDict
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)
from typing_extensions import TypedDict, override

from dsplus_chains.labels import Label, as_label

ROUNDING = 1e-6
"""How far beyond [0, 1] a probability may lie and still count as rounding error (a sum of float32)."""

SKIPPED = "skipped"
"""The source of the result of a subtask that was not run for an input."""


ASKED_LARGE = ("large", "fused")
"""The sources of a result in which the large model has spoken."""


class DSPlusError(Exception):
    """Base of all errors that this package raises on its own account."""


class InvalidInputError(DSPlusError, ValueError):
    """An input of the chain, or a record on its way through it, is not what a Runnable can work on."""


class WiringError(InvalidInputError):
    """The parts of a chain do not fit each other. A model that fails is a reason to fall back; this is not."""


class TrainingDataError(DSPlusError, ValueError):
    """The examples given to `fit` cannot train a classifier."""


class InfeasibleTargetError(DSPlusError, ValueError):
    """No threshold meets the target on this data; `nearest` is the closest that can be had."""

    def __init__(self, message: str, *, target: Any = None, nearest: Any = None) -> None:
        super().__init__(message)
        self.target = target
        self.nearest = nearest


class SubtaskError(DSPlusError):
    """A subtask failed; `subtask` is its name, the cause is chained."""

    def __init__(self, message: str, *, subtask: str = "") -> None:
        super().__init__(message)
        self.subtask = subtask


class BundleError(DSPlusError, ValueError):
    """A saved model is damaged, incompatible, or holds something that cannot be saved without pickle."""


def describe_error(error: BaseException) -> str:
    """Name an error in one line, as it stands in a record: ``"TimeoutError: no answer in 5 s"``."""
    text = " ".join(str(error).partition("\nFor troubleshooting, visit:")[0].split())  # LangChain adds a link
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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


class _Value(Serializable):
    """A frozen value that LangChain can serialise."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True


class Prediction(_Value):
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


class LargeAnswer(_Value):
    """What the large model itself said of one input, before any fusion.

    Args:
        value: Its answer; None if it failed before it said anything that counts as one.
        confidence: Its own confidence in [0, 1], where the provider tells it, else None.
        usage: The tokens of all its calls for this input, else None.
    """

    value: Any = None
    confidence: Confidence = None
    usage: UsageMetadata | None = None


class Passage(_Value):
    """A piece of a longer text, verbatim, and where it stands there.

    Args:
        text: The piece.
        start: The offset of its first character; None where the piece is not found in the text as it is.
        number: Its place among the pieces, from 1; None if they are not counted.

    Example:
        >>> str(Passage(text="It broke at once.", start=120, number=3))
        '[3] It broke at once.'
    """

    text: str
    start: int | None = Field(default=None, ge=0)
    number: int | None = Field(default=None, ge=1)

    @property
    def end(self) -> int | None:
        """The offset behind its last character."""
        return None if self.start is None else self.start + len(self.text)

    @override
    def __str__(self) -> str:
        return self.text if self.number is None else f"[{self.number}] {self.text}"


class SubtaskResult(_Value):
    """What one subtask found out.

    Args:
        value: Its result; None if it failed or was skipped.
        confidence: How sure whoever answered is, in [0, 1], or None if it does not say.
        source: Who answered, as in the record's `source`; "skipped" if the subtask was not run for this input; None if
            nobody says.
        error: Why there is no result, or only the small model's (``"TimeoutError: …"``), else None.
        doubtful: Whether the subtask's own threshold asks for more confidence than there is.
        passages: What of the input it rests on, where whoever answered can tell.
        usage: The tokens of all chat model calls that the subtask made for this input; None if it made none, or one
            that did not tell.
        calls: How many these were.
        seconds: How long it took: the time of the subtask's batch in equal shares for its inputs. Two results that
            differ in this alone are equal.

    Example:
        >>> str(SubtaskResult(value="sport", confidence=0.97))
        'sport (97 %)'
    """

    value: Any = None
    confidence: Confidence = None
    source: str | None = None
    error: str | None = None
    doubtful: bool = False
    passages: tuple[Passage, ...] = ()
    usage: UsageMetadata | None = None
    calls: int = Field(default=0, ge=0)
    seconds: float | None = Field(default=None, ge=0)

    @property
    def is_open(self) -> bool:
        """Whether the question is left to whoever combines the results: no value, a doubtful one, or a stand-in."""
        return self.value is None or self.doubtful or self.source == "fallback"

    @property
    def shown(self) -> Any:
        """What stands in a template for it: the value, "unknown" without one, nothing if it was skipped."""
        if self.value is not None:
            return self.value
        return "" if self.source == SKIPPED else "unknown"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubtaskResult) and self._said() == other._said()

    @override
    def __hash__(self) -> int:
        return hash((self.source, self.confidence, self.error, self.calls))  # a value may be a list

    def _said(self) -> dict[str, Any]:
        return {name: value for name, value in self if name != "seconds"}

    @override
    def __str__(self) -> str:
        if self.value is None:
            return "unknown" if self.error is None else f"unknown ({self.error})"
        return f"{self.value}" if self.confidence is None else f"{self.value} ({percent(self.confidence)})"


class SubtaskResults(AddableDict):
    """The results of subtasks by name; as text they tell the large model what is known, from whom, and what is not.

    What was skipped has no line. A value of several lines is indented, so that no text that was found can pass for a
    result of its own.

    Example:
        >>> found = {"topic": SubtaskResult(value="sport", confidence=0.97, source="small"), "team": SubtaskResult()}
        >>> print(SubtaskResults(found))
        Known from specialised models:
        topic = sport (97 % sure)
        Still open:
        team = unknown
    """

    @override
    def __add__(self, other: Any) -> SubtaskResults:
        return SubtaskResults(super().__add__(other))

    @override
    def __str__(self) -> str:
        known: list[str] = []
        large: list[str] = []
        still_open: list[str] = []
        for name, value in self.items():
            result = value if isinstance(value, SubtaskResult) else SubtaskResult(value=value)
            if result.source != SKIPPED:
                group = still_open if result.is_open else large if result.source in ASKED_LARGE else known
                group.append(_told(name, result))
        groups = {
            "Known from specialised models:": known,
            "Known from the large model:": large,
            "Still open:": still_open,
        }
        return "\n".join("\n".join([title, *lines]) for title, lines in groups.items() if lines)


def _told(name: str, result: SubtaskResult) -> str:
    """One result in a prompt; a value of several lines stands below its name, indented: none can pass for a title."""
    if result.value is None:
        reason = "" if result.error is None else f" ({shorten(' '.join(result.error.splitlines()), 80)})"
        return f"{name} = unknown{reason}"
    sure = "" if result.confidence is None else f" ({percent(result.confidence)} sure)"
    value = str(result.value)
    if "".join(value.splitlines()) == value:
        return f"{name} = {value}{sure}"
    return f"{name}{sure}:\n{indent(value, '    ')}"


class ShuntRecord(TypedDict, total=False):
    """What flows through a chain: a plain dict to which each Runnable adds its keys.

    Keys of the caller's own pass through untouched; those below are not the caller's to use, but for `input`.
    """

    input: Any
    """What is scored."""
    prediction: Prediction
    """The latest small model's prediction."""
    tiers: NotRequired[list[Prediction]]
    """The predictions of earlier small models, first to last."""
    answer: Any
    """The final answer."""
    source: str
    """Who gave it: "small", "large", "fused", "fallback", or a tier's name."""
    large: NotRequired[LargeAnswer]
    """What the large model said; absent if it was not asked."""
    fused: NotRequired[Prediction]
    """What both models together believe, where the two were weighed."""
    error: NotRequired[str]
    """Why `source` is "fallback", or why there is no `plan`."""
    subtasks: NotRequired[dict[str, SubtaskResult]]
    """Results of subtasks by name."""
    request: NotRequired[str]
    """What a planner is asked about `input`; without it, `input` is the request."""
    plan: NotRequired[Any]
    """The plan that a planner has run; None if the large model answered without one."""
    planning: NotRequired[Any]
    """How the plan came about, and at what cost."""


_MARKS = {"prediction": Prediction, "large": LargeAnswer, "fused": Prediction, "subtasks": SubtaskResults}
"""Values that only a chain of ours puts into a mapping."""


def is_record(output: Any, given: Any = None) -> TypeGuard[Mapping[str, Any]]:
    """Whether an output is a record with an answer, and not a mapping that happens to have such keys.

    It holds an `answer`, names its `source`, and has a value of one of this module's types, or the very `input` that
    was given: a table or a JSON answer has neither.

    Args:
        output: What a Runnable returned.
        given: What it got.

    Example:
        >>> is_record({"answer": "30 days", "source": "page 3"})
        False
        >>> is_record({"answer": "ham", "source": "small", "prediction": Prediction(label="ham")})
        True
    """
    if not isinstance(output, Mapping) or "answer" not in output or not isinstance(output.get("source"), str):
        return False
    if any(isinstance(output.get(key), kind) for key, kind in _MARKS.items()):
        return True
    return isinstance(given, Mapping) and "input" in given and "input" in output and output["input"] is given["input"]
