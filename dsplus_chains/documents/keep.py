"""The rule that decides which parts of a long input are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    Passage,
    Prediction,
    SubtaskResult,
    Value,
    as_label,
    brief,
    labels_outside,
    same_label,
    what_came,
)


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What was found out about one part of a long input.

    Args:
        passage: The part.
        result: What the step said about the part.
        relevance: How relevant the part is, in [0, 1], as `Keep` measures it. None if it is not known.
    """

    passage: Passage
    result: SubtaskResult
    relevance: float | None = None


class Keep(Value):
    """The rule that decides which parts are kept. Without settings, all parts are kept.

    `drop` removes a part only where the step is confident enough. A part without a confidence is never dropped. The
    relevance of a part is measured in one of these ways:

    * With `label`, it is the probability of that label. Without probabilities, it is the confidence in that label.
    * With `drop` and no `label`, it is the probability that the part has none of these labels.
    * Otherwise it is the confidence of the step's result. For a ranker this is its score.

    Args:
        drop: Labels of irrelevant parts. A part is dropped if its value is one of them, with at least `threshold`
            confidence.
        threshold: Lowest confidence at which `drop` applies. Choose it from data, like the threshold of a shunt.
        top_k: Keep this many of the other parts, the most relevant ones. Among equals, the first part wins. Parts of
            unknown relevance come last.
        label: Rank by the probability of this label. It may also be a quick function that finds the label in the
            record, for instance among the results of subtasks.
        max_chars: Keep at most this many characters. The most relevant parts come first, and a part that does not fit
            is skipped.

    Raises:
        pydantic.ValidationError: Only one of `drop` and `threshold` is given, or a number is out of range.

    Example:
        >>> keep = Keep(drop={"off topic"}, threshold=0.9)
        >>> said = [("off topic", 0.95), ("off topic", 0.6), ("on topic", 0.99), ("off topic", None)]
        >>> parts = [
        ...     PartResult(passage=Passage(text="…", number=n), result=SubtaskResult(value=label, confidence=sure))
        ...     for n, (label, sure) in enumerate(said, start=1)
        ... ]
        >>> [part.passage.number for part in keep.choose(parts)]
        [2, 3, 4]
    """

    drop: frozenset[Label] = frozenset()
    threshold: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    label: Label | Callable[[dict[str, Any]], Any] | None = None
    max_chars: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _drops_by_a_threshold(self) -> Self:
        if bool(self.drop) is (self.threshold is None):
            msg = f"Got drop={sorted(map(str, self.drop))} and threshold={self.threshold} but expected both or neither"
            raise ValueError(msg)
        return self

    @property
    def selects(self) -> bool:
        """Whether any part can be left out."""
        return bool(self.drop) or self.top_k is not None or self.max_chars is not None

    def check(self, labels: Sequence[Any] | None) -> None:
        """Refuse labels that the step never names. A part with such a label would never come.

        Args:
            labels: The labels that the step may name. None if they are not known.

        Raises:
            ValueError: `drop` or `label` names another one.
        """
        own = [] if callable(self.label) or self.label is None else [self.label]
        for option, named in (("drop", sorted(self.drop, key=str)), ("label", own)):
            if labels is not None and (unknown := labels_outside(named, labels)):
                msg = f"Got {option}={brief(unknown)}, which are not among the labels of the step {brief(list(labels))}"
                raise ValueError(msg)

    def wanted(self, record: dict[str, Any]) -> Any:
        """The label to rank by for one input. None if parts are not ranked by a label.

        Raises:
            InvalidInputError: The function finds no label.
        """
        if not callable(self.label):
            return self.label
        label = as_label(self.label(record))
        if not isinstance(label, (str, int)):
            msg = f"Got {what_came(label)} as the label to rank parts by but expected a label"
            raise InvalidInputError(msg)
        return label

    def relevance(self, result: SubtaskResult, prediction: Prediction | None, wanted: Any) -> float | None:
        """How relevant a part is.

        Args:
            result: What the step said about the part.
            prediction: The prediction behind the result, if there is one.
            wanted: The label to rank by, or None.
        """
        probabilities = prediction.probabilities if prediction is not None else None
        if wanted is not None:
            if probabilities is not None:
                return _sum(probabilities, [wanted])
            return result.confidence if same_label(result.value, wanted) else None
        if not self.drop:
            return result.confidence
        if probabilities is not None:
            return 1 - _sum(probabilities, self.drop)
        if result.confidence is not None and self._names(result.value):
            return 1 - result.confidence
        return result.confidence

    def choose(self, parts: Sequence[PartResult]) -> list[PartResult]:
        """The parts that are kept, in their original order."""
        left = [number for number, part in enumerate(parts) if not self._drops(part.result)]
        ranked = sorted(left, key=lambda number: -_known(parts[number].relevance))[: self.top_k]
        if self.max_chars is not None:
            ranked = _fitting(ranked, [len(part.passage.text) for part in parts], self.max_chars)
        return [parts[number] for number in sorted(ranked)]

    def _drops(self, result: SubtaskResult) -> bool:
        if self.threshold is None or result.confidence is None or result.confidence < self.threshold:
            return False
        return self._names(result.value)

    def _names(self, value: Any) -> bool:
        return any(same_label(value, label) for label in self.drop)


def _fitting(ranked: Sequence[int], sizes: Sequence[int], room: int) -> list[int]:
    fitting = []
    for number in ranked:
        if sizes[number] <= room:
            fitting.append(number)
            room -= sizes[number]
    return fitting


def _known(relevance: float | None) -> float:
    return -1.0 if relevance is None else relevance


def _sum(probabilities: Mapping[Any, float], labels: Any) -> float:
    return min(
        1.0, sum(share for label, share in probabilities.items() if any(same_label(label, one) for one in labels))
    )
