"""The rows that a threshold is tuned on. They tell who is right, and how sure the small model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.evaluation.answers import right_answers
from dsplus_chains.evaluation.baselines import confidences
from dsplus_chains.evaluation.raw_answers import read_answers
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    Prediction,
    brief_repr,
    clean_answers,
    clean_labels,
    deciding_confidence,
    hash_of,
    read_confidences,
    read_predictions,
    same_label,
)
from dsplus_chains.tuning.known_labels import check_known

Flags = NDArray[np.bool_]


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class TuningRows:
    """Tuning rows, column by column.

    Args:
        predictions: The small model's predictions.
        labels: The true labels.
        answers: The large model's answers. None where it failed.
        large_confidences: How sure the large model was, where its provider tells.
        confidence: The small model's confidence. NaN where it is missing.
        small_right: Whether the small model is right.
        large_right: Whether the large model is right. A missing answer is wrong.
        replaced_right: Whether the large model's answer is right, or the small one's where the large model failed.
        deferred_right: Whether a deferred row is answered right. It differs from `replaced_right` only with fusion.
        gains: What deferring each row gains, in right answers. From its label the gain is -1, 0 or 1. A trusted fusion
            (see `fused`) expects a gain from the probabilities of both models together. It is never negative, so it
            only decides where labels do not.
        costs: Cost of deferring each row.
        unread: Whether the large model answered something that could not be read as a label.
        strange: Whether it answered something that is no label and counts as it stands, as wrong.
        copy_of: A number that copies of a row share, and no others.
        hash: SHA-256 of all tuning rows.
    """

    predictions: list[Prediction]
    labels: list[Any]
    answers: list[Any]
    large_confidences: list[float | None]
    confidence: NDArray[np.float64]
    small_right: Flags
    large_right: Flags
    replaced_right: Flags
    deferred_right: Flags
    gains: NDArray[np.float64]
    costs: NDArray[np.float64]
    unread: Flags
    strange: Flags
    copy_of: NDArray[np.int64]
    hash: str

    @property
    def predicted(self) -> list[Any]:
        """The small model's label of each row."""
        return [prediction.label for prediction in self.predictions]

    @property
    def all_labels(self) -> dict[Any, None]:
        """Every label that the small model may give, in its order."""
        named = (label for row in self.predictions for label in (*(row.probabilities or ()), row.label))
        return dict.fromkeys(label for label in named if label is not None)

    def part(self, numbers: NDArray[np.int64]) -> Self:
        """Some of the rows."""
        chosen: dict[str, Any] = {}
        for column in fields(self):
            values = getattr(self, column.name)
            if isinstance(values, np.ndarray):
                chosen[column.name] = values[numbers]
            elif isinstance(values, list):
                chosen[column.name] = [values[row] for row in numbers]
        return replace(self, **chosen)

    def within(self, max_ood_score: float) -> Self:
        """The same rows, without the confidence of those whose `ood_score` is missing or above the bound."""
        return replace(self, confidence=confidences(self.predictions, max_ood_score))

    def fused(self, weighed: Sequence[Prediction | None], *, trusted: bool) -> Self:
        """The same rows, as if both models together answered deferred ones. A row with None stays as it is.

        Args:
            weighed: What both models together make of each row.
            trusted: Whether the fusion was fitted on rows like these. Then its probabilities tell what gains to expect.
                Otherwise only the labels do.
        """
        right, gains = self.deferred_right.copy(), self.gains.copy()
        for row, both in enumerate(weighed):
            if both is not None and both.probabilities is not None:
                right[row] = same_label(both.label, self.labels[row])
                gains[row] = float(right[row]) - float(self.small_right[row])
                if trusted:
                    own = both.probabilities.get(self.predictions[row].label, 0.0)
                    gains[row] = both.probabilities[both.label] - own
        return replace(self, deferred_right=right, gains=gains)


def read_rows(
    predictions: Sequence[Prediction],
    labels: Sequence[Label],
    large_answers: Sequence[Any],
    *,
    large_confidences: Sequence[float | None] | None = None,
    costs: NDArray[np.float64],
    parser: LabelParser | None = None,
    copy_of: NDArray[np.int64] | None = None,
) -> TuningRows:
    """Take tuning rows as a user gives them.

    Args:
        predictions: The small model's predictions, or the records that hold them.
        labels: The true labels.
        large_answers: What the large model answered. None where it failed.
        large_confidences: How sure the large model was, where its provider tells.
        costs: Cost of deferring each row.
        parser: Parser of answers that are no label. See `read_answers`.
        copy_of: A number that copies of a row share. By default no row is a copy.

    Raises:
        InvalidInputError: There are no rows, lengths differ, or labels are missing or of mixed types. Or the large
            answers cannot be those of these rows, or the small model knows none of the labels.
    """
    predictions, true, large = read_predictions(predictions), clean_labels(labels), clean_answers(large_answers)
    sure = read_confidences([None] * len(large) if large_confidences is None else large_confidences)
    if not len(true) == len(predictions) == len(large) == len(sure) or not true:
        told = "" if large_confidences is None else f" and {len(sure)} large confidences"
        msg = (
            f"Got {len(predictions)} predictions, {len(true)} labels and {len(large)} large answers{told} but expected"
            " one of each for every tuning row, and at least one row"
        )
        raise InvalidInputError(msg)
    small = [prediction.label for prediction in predictions]
    known = [deciding_confidence(row) for row in predictions]
    small_right = right_answers(small, true, what="predictions")
    check_known(true, predictions)
    read = read_answers(large, labels=true, predictions=predictions, parser=parser)
    large_right = right_answers(read.values, true, what="large answers")
    failed = np.array([answer is None for answer in read.values], dtype=np.bool_)
    replaced_right = np.where(failed, small_right, large_right)
    return TuningRows(
        predictions=predictions,
        labels=true,
        answers=read.values,
        large_confidences=sure,
        confidence=confidences(predictions),
        small_right=small_right,
        large_right=large_right,
        replaced_right=replaced_right,
        deferred_right=replaced_right,
        gains=replaced_right.astype(np.float64) - small_right,
        costs=costs,
        copy_of=np.arange(len(true)) if copy_of is None else copy_of,
        unread=_flags(read.unread, len(true)),
        strange=_flags(read.strange, len(true)),
        hash=hash_of([small, known, true, read.values]),
    )


def _flags(rows: Sequence[int], n: int) -> Flags:
    flags = np.zeros(n, dtype=np.bool_)
    flags[list(rows)] = True
    return flags
