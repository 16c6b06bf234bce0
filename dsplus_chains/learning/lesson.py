"""`Lesson`: the rows that a small model learns from, sorted into labelled ones and a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.schema import Label, TrainingDataError, brief, brief_repr, label_key, labels_outside


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Labelled rows, and a stream of rows without a label. No text is in both, and none is twice in the stream.

    Args:
        labels: The labels, in the order of the small model's probabilities.
        gold_texts: The labelled texts.
        gold_labels: Their labels.
        gold_answers: What the large model says of them, None where that is not known.
        texts: The texts of the stream.
        answers: The large model's answers. None where the small model answered alone.
        confidences: The large model's own confidence, None where it is not known.
    """

    labels: tuple[Label, ...]
    gold_texts: tuple[str, ...]
    gold_labels: tuple[Label, ...]
    gold_answers: tuple[Any, ...]
    texts: tuple[str, ...]
    answers: tuple[Any, ...]
    confidences: tuple[float | None, ...]

    @classmethod
    def of(
        cls,
        experience: Iterable[Experience],
        *,
        labels: Sequence[Label],
        gold_texts: Sequence[str] = (),
        gold_labels: Sequence[Label] = (),
    ) -> Self:
        """Sort what is known.

        A text with a true label in the experience joins the labelled rows. If a text has several true labels there, the
        last one counts, as the last answer of the large model does.

        Args:
            experience: Decisions of the chain, in the order of their time. Those without a text teach nothing.
            labels: The labels, in the order of the small model's probabilities.
            gold_texts: Labelled texts.
            gold_labels: Their labels.

        Raises:
            TrainingDataError: A true label is none of the labels, or there is none of some label.
        """
        told: dict[str, _Told] = {}
        for row in experience:
            known = told.setdefault(row.text_hash, _Told())
            known.text = row.text or known.text
            if row.large is not None:
                known.answer, known.confidence = row.large, row.large_confidence
            if row.gold is not None:
                known.gold = row.gold
        keys = [hash_of_input(text) for text in gold_texts]
        given = [
            (text, label, told[key].answer if key in told else None)
            for text, label, key in zip(gold_texts, gold_labels, keys, strict=True)
        ]
        taken = set(keys)
        new = [row for key, row in told.items() if key not in taken and row.text]
        gold = [*given, *((row.text, row.gold, row.answer) for row in new if row.gold is not None)]
        if strange := labels_outside([label for _, label, _ in gold], labels):
            msg = f"Got the true labels {strange[:5]} but the small model knows {brief(list(labels))}; fit it with them"
            raise TrainingDataError(msg)
        gold = _labels_in_order(gold, labels)
        stream = [row for row in new if row.gold is None]
        return cls(
            labels=tuple(labels),
            gold_texts=tuple(str(text) for text, _, _ in gold),
            gold_labels=tuple(label for _, label, _ in gold),
            gold_answers=tuple(answer for _, _, answer in gold),
            texts=tuple(str(row.text) for row in stream),
            answers=tuple(row.answer for row in stream),
            confidences=tuple(row.confidence for row in stream),
        )

    def columns(self, answers: Sequence[Any]) -> NDArray[np.int64]:
        """The class number of each label or answer, -1 for what is none."""
        number_of = {label_key(label): number for number, label in enumerate(self.labels)}
        known = [number_of.get(label_key(told), -1) if isinstance(told, (str, int)) else -1 for told in answers]
        return np.array(known, dtype=np.int64)

    @property
    def asked(self) -> int:
        """Number of rows of the stream that the large model has answered."""
        return sum(answer is not None for answer in self.answers)


@dataclass
class _Told:
    """All that is known of a text."""

    text: str | None = None
    answer: Any = None
    confidence: float | None = None
    gold: Any = None


def _labels_in_order(gold: list[tuple[Any, Any, Any]], labels: Sequence[Label]) -> list[tuple[Any, Any, Any]]:
    """The rows, with one of each label first, so that a fit keeps the order of the labels.

    Raises:
        TrainingDataError: There is no row of some label.
    """
    first: dict[Any, int] = {}
    for number, (_, label, _) in enumerate(gold):
        first.setdefault(label_key(label), number)
    if missing := [label for label in labels if label_key(label) not in first]:
        msg = f"Got no labelled row of {missing[:5]} but expected two or more of each label; give gold=(texts, labels)"
        raise TrainingDataError(msg)
    lead = [first[label_key(label)] for label in labels]
    return [gold[number] for number in lead] + [row for number, row in enumerate(gold) if number not in set(lead)]
