"""Which parts of a long input are kept: what is confidently irrelevant goes, of the rest perhaps only the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    Passage,
    Prediction,
    SubtaskResult,
    as_label,
    same_label,
    what_came,
)


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What was found out about one part of a long input.

    Args:
        passage: The part.
        result: What the step said of it.
        relevance: How relevant the part is, in [0, 1], by what `Keep` was asked for; None if nobody says.
    """

    passage: Passage
    result: SubtaskResult
    relevance: float | None = None


class Keep(BaseModel):
    """The rule by which parts are kept. Without settings all are.

    A part is dropped only where somebody is sure that it may be: no confidence, no drop. How relevant a part is, is

    * with `label`, the probability of that label (of a value without probabilities: the confidence in it);
    * with `drop`, the probability that the part is none of these;
    * else the confidence in what was said of it, which is the score of a ranker.

    Args:
        drop: Labels of what is irrelevant. A part whose value is one of them, with at least `threshold` confidence, is
            dropped.
        threshold: See `drop`; it comes from data, as that of a shunt does.
        top_k: Keep so many of the rest, the most relevant ones; of equals the first. Unknown relevance comes last.
        label: Rank by the probability of this label; or a quick function of the record that finds it there, for
            instance among the results of subtasks.
        max_chars: Keep at most so many characters: part by part, the most relevant first, those that still fit.

    Raises:
        pydantic.ValidationError: `drop` without `threshold` or the reverse, or a number out of range.

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

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def wanted(self, record: dict[str, Any]) -> Any:
        """The label to rank by for one input; None if it is not ranked by a label.

        Raises:
            InvalidInputError: The function finds none.
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
            result: What was said of it.
            prediction: The probabilities behind it, if there are any.
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
        """The parts that are kept, in their order."""
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
