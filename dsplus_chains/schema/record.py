"""The record that flows through a chain, and how to tell it from other mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypeGuard

from typing_extensions import TypedDict

from dsplus_chains.schema.errors import InvalidInputError
from dsplus_chains.schema.large_answer import LargeAnswer
from dsplus_chains.schema.model_choice import ModelChoice
from dsplus_chains.schema.prediction import Prediction
from dsplus_chains.schema.results import SubtaskResult, SubtaskResults
from dsplus_chains.schema.wording import what_came


class ShuntRecord(TypedDict, total=False):
    """The record of a chain, a plain dict to which each Runnable adds its keys.

    The caller's own keys pass through unchanged. Of the keys below, the caller may set only `input`, `request` and
    `plan`.
    """

    input: Any
    """The input that is scored. Two texts as one are a `TextPair`."""
    called_with: NotRequired[Any]
    """The very object that the chain was called with, where that is no text."""
    prediction: Prediction
    """The latest small model's prediction."""
    tiers: NotRequired[list[Prediction]]
    """The predictions of earlier small models, first to last."""
    predictions: NotRequired[dict[str, Prediction]]
    """The small models' predictions by field, where the answer has fields."""
    attempt: NotRequired[str]
    """The best candidate of a `VerifiedScorer` and its report, fenced."""
    answer: Any
    """The final answer."""
    answer_label: NotRequired[Any]
    """The label that the answer stands for, where the answer is the output of an app. None if it stands for none."""
    source: str
    """Who gave the answer: "small", "large", "fused", "fallback", or a tier's name."""
    sources: NotRequired[dict[str, str]]
    """Who gave each field, where the answer has fields. "default" means nobody was asked."""
    large: NotRequired[LargeAnswer]
    """What the large model said. Absent if it was not asked."""
    fused: NotRequired[Prediction]
    """The prediction of both models together, where a fusion weighed them."""
    unfinished: NotRequired[bool]
    """True where a stream was closed before the large model had ended. `answer` is a part of its answer, or None."""
    error: NotRequired[str]
    """Why `source` is "fallback", or why there is no `plan`."""
    small_error: NotRequired[str]
    """Why the small model said nothing, where its errors are deferred."""
    subtasks: NotRequired[dict[str, SubtaskResult]]
    """Results of subtasks by name."""
    request: NotRequired[str]
    """The planner's question about `input`. Without it, `input` is the request."""
    choice: NotRequired[ModelChoice]
    """Which of several models was asked, where a `ModelComposer` chose one."""
    plan: NotRequired[Any]
    """The plan that a planner has run. None if the large model answered without one."""
    planning: NotRequired[Any]
    """How the plan was made, and at what cost."""


_MARKS = {"prediction": Prediction, "large": LargeAnswer, "fused": Prediction, "subtasks": SubtaskResults}
"""Types of values that only a chain of ours puts under these keys."""


def check_answered(value: Any, *keys: str, place: str) -> Mapping[str, Any]:
    """A record, if a branch has answered it.

    Args:
        value: Input of a Runnable behind a branch.
        keys: Keys that the Runnable needs beside `answer` and `source`.
        place: The Runnable's place in a chain, for the error.

    Raises:
        InvalidInputError: It is no mapping, or lacks a key.
    """
    needed = (*keys, "answer", "source")
    if isinstance(value, Mapping) and all(key in value for key in needed):
        return value
    msg = f"Got {what_came(value)} but expected the record of a branch, with {', '.join(needed)}: {place}"
    raise InvalidInputError(msg)


def as_record(value: Any, *, expected: str) -> Mapping[str, Any]:
    """A record with an `input`. A record is returned unchanged, and a text becomes the `input` of a new one.

    Args:
        value: Input of a Runnable.
        expected: The accepted inputs, for the error.

    Raises:
        InvalidInputError: It is neither.

    Example:
        >>> as_record("broke at once", expected="a text")
        {'input': 'broke at once'}
    """
    record = {"input": value} if isinstance(value, str) else value
    if isinstance(record, Mapping) and "input" in record:
        return record
    msg = f"Got {what_came(value)} but expected {expected}"
    raise InvalidInputError(msg)


def answer_of_large(record: Mapping[str, Any]) -> Any:
    """The large model's answer, if it is the record's answer. None if the model was not asked, or failed.

    Example:
        >>> answer_of_large({"answer": "ham", "source": "large"}), answer_of_large({"answer": "ham", "source": "small"})
        ('ham', None)
    """
    return record["answer"] if record.get("source") == "large" else None


def answered_label(record: Mapping[str, Any]) -> Any:
    """The label of a record's answer.

    Example:
        >>> answered_label({"answer": "ham"}), answered_label({"answer": {"kind": "ham"}, "answer_label": "ham"})
        ('ham', 'ham')
    """
    return record.get("answer_label", record["answer"])


def is_record(output: Any, given: Any = None) -> TypeGuard[Mapping[str, Any]]:
    """Whether an output is a record with an answer, and not a mapping that happens to have such keys.

    A record holds an `answer` and names its `source`. It also has a value that only a chain writes, or the very `input`
    object that was given. A table or a JSON answer has neither.

    Args:
        output: Output of a Runnable.
        given: Input of that Runnable.

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
