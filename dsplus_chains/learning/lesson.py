"""`Lesson`: the rows that a small model learns from, sorted into labelled ones and a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.learning.experience import CHOSEN_BY_ERRORS, Experience, hash_of_input
from dsplus_chains.schema import Label, TrainingDataError, brief, brief_repr, label_key, label_reader, same_label, shown


@dataclass(frozen=True, kw_only=True)
class LessonRow:
    """All that is known of a text.

    Args:
        text: The text.
        label: Its true label. None if it has none.
        answer: The large model's last answer. None if it was not asked.
        confidence: The large model's own confidence in it. None if that is not known.
        rationale: The large model's reason for it. None if it gave none.
    """

    text: str
    label: Any = None
    answer: Any = None
    confidence: float | None = None
    rationale: str | None = None

    @property
    def reason(self) -> str | None:
        """The rationale, if it can be learned from. One for an answer that is known to be wrong cannot."""
        wrong = self.label is not None and not same_label(self.answer, self.label)
        return None if wrong else self.rationale


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Labelled rows that judge, and a stream of others. No text is in both, and none is twice in the stream.

    Args:
        labels: The labels, in the order of the small model's probabilities.
        gold: The labelled rows. They calibrate, tune and judge.
        stream: The other rows. Some may have a true label and yet judge nothing, because they were chosen for being
            hard. See `CHOSEN_BY_ERRORS`.
    """

    labels: tuple[Label, ...]
    gold: tuple[LessonRow, ...]
    stream: tuple[LessonRow, ...]

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

        A text with a true label in the experience joins the labelled rows, unless the label was asked for because the
        row was hard. If a text has several true labels, the last one in the experience counts. So does the last answer
        of the large model.

        Args:
            experience: Decisions of the chain, in the order of their time. Those without a text teach nothing.
            labels: The labels, in the order of the small model's probabilities.
            gold_texts: Labelled texts.
            gold_labels: Their labels.

        Raises:
            TrainingDataError: A true label is none of the labels, or there is none of some label.
        """
        told: dict[str, Experience] = {}
        for row in experience:
            told[row.text_hash] = _joined(told.get(row.text_hash), row)
        kept: dict[str, str] = {}  # a text may have been redacted, and then has another hash than the input
        for key, known in told.items():
            if known.text:
                kept.setdefault(hash_of_input(known.text), key)
        keys = [key if key in told else kept.get(key, key) for key in map(hash_of_input, gold_texts)]
        gold = [
            _row(text, label, told.get(key)) for text, label, key in zip(gold_texts, gold_labels, keys, strict=True)
        ]
        taken, stream = set(keys), list[LessonRow]()
        for known in (told[key] for key in kept.values() if key not in taken):
            judges = known.gold is not None and known.gold_origin not in CHOSEN_BY_ERRORS
            (gold if judges else stream).append(_row(known.text or "", known.gold, known))
        gold, stream = _truths_read(gold, labels), _truths_read(stream, labels)
        return cls(labels=tuple(labels), gold=tuple(_labels_in_order(gold, labels)), stream=tuple(stream))

    @property
    def answered(self) -> tuple[int, ...]:
        """The numbers of the labelled rows that the large model has answered."""
        return tuple(number for number, row in enumerate(self.gold) if row.answer is not None)

    def numbers(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """The class number of each label or answer, -1 for what is none."""
        number_of = {label_key(label): number for number, label in enumerate(self.labels)}
        known = [number_of.get(label_key(told), -1) if isinstance(told, (str, int)) else -1 for told in labels]
        return np.array(known, dtype=np.int64)

    @property
    def reasons(self) -> int:
        """Number of rows with a reason that can be learned from."""
        return sum(row.reason is not None for row in (*self.gold, *self.stream))

    @property
    def asked(self) -> int:
        """Number of rows of the stream that the large model has answered."""
        return sum(row.answer is not None for row in self.stream)


def _joined(known: Experience | None, row: Experience) -> Experience:
    """What two decisions on one text tell. The later one counts."""
    if known is None:
        return row
    later = row if row.large is not None else known
    truth = row if row.gold is not None else known
    return replace(
        row,
        text=row.text or known.text,
        large=later.large,
        large_confidence=later.large_confidence,
        rationale=later.rationale,
        gold=truth.gold,
        gold_origin=truth.gold_origin,
    )


def _row(text: str, label: Any, known: Experience | None) -> LessonRow:
    """A row. What the experience says of it comes before what was known of it."""
    if known is None:
        return LessonRow(text=text, label=label)
    truth = label if known.gold is None else known.gold
    return LessonRow(
        text=text,
        label=truth,
        answer=known.large,
        confidence=known.large_confidence,
        rationale=known.rationale,
    )


def _truths_read(rows: Iterable[LessonRow], labels: Sequence[Label]) -> list[LessonRow]:
    """The rows with their true labels as labels of the small model, as tables are read.

    Raises:
        TrainingDataError: A true label is none of the labels.
    """
    read = label_reader(labels)
    found = [row if row.label is None else replace(row, label=read(row.label)) for row in rows]
    if strange := [row for row, told in zip(rows, found, strict=True) if row.label is not None and told.label is None]:
        msg = (
            f"Got the true labels {shown([row.label for row in strange])}, the first one of {shown(strange[0].text)}, "
            f"but the small model knows {brief(list(labels))}. Give the text another one, with "
            "store.correct(text, label), or fit a small model with these labels"
        )
        raise TrainingDataError(msg)
    return found


def _labels_in_order(gold: list[LessonRow], labels: Sequence[Label]) -> list[LessonRow]:
    """The rows, with one of each label first, so that a fit keeps the order of the labels.

    Raises:
        TrainingDataError: There is no row of some label.
    """
    first: dict[Any, int] = {}
    for number, row in enumerate(gold):
        first.setdefault(label_key(row.label), number)
    if missing := [label for label in labels if label_key(label) not in first]:
        msg = f"Got no labelled row of {missing[:5]} but expected two or more of each label; give gold=(texts, labels)"
        raise TrainingDataError(msg)
    lead = [first[label_key(label)] for label in labels]
    others = set(range(len(gold))) - set(lead)
    return [gold[number] for number in [*lead, *sorted(others)]]
