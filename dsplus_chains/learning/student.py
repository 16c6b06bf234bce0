"""`teach` fits a small model on labelled rows and on a stream that the large model has answered in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.gating.answer_table import confidence_column
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.teaching import frozen_classes, soft_targets
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import Label, TrainingDataError, brief_repr
from dsplus_chains.scoring.ensemble import FOLDS, CalibrationName, ModelName
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.soft_rows import SoftRows
from dsplus_chains.storage.origin import provenance

FEWEST_TUNING_ROWS = 50
"""Smallest number of labelled rows with a large answer by which both models are weighed, or a threshold is chosen."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Learned:
    """A small model that has learned, and what it learned from.

    Args:
        scorer: The small model.
        before: The small model of the labelled rows alone.
        lesson: The rows.
        fusion: What weighed both answers. None if there was nothing to weigh them by.
        frozen: The labels that the large model taught nothing about.
    """

    scorer: SmallModelScorer
    before: SmallModelScorer
    lesson: Lesson
    fusion: AnswerFusion | None
    frozen: tuple[Label, ...]

    def examples(self, like: ExemplarSelector | None = None) -> ExemplarSelector:
        """The labelled rows as examples to show to the large model.

        Args:
            like: The selector whose settings are kept.
        """
        kept = (
            {} if like is None else {name: getattr(like, name) for name in ("k", "diversity", "per_label", "input_key")}
        )
        return ExemplarSelector.fit(
            self.lesson.gold_texts,
            self.lesson.gold_labels,
            encoder=self.scorer.encoder,
            predictions=self.scorer.out_of_fold,
            **kept,
        )

    def provenance(self, *, seed: int) -> dict[str, Any]:
        """Where the small model comes from, as plain data for `Bundle.metadata`."""
        lesson = self.lesson
        counts = {
            "stream": len(lesson.texts),
            "large_answers": lesson.asked,
            "labelled_with_large_answer": sum(answer is not None for answer in lesson.gold_answers),
            "frozen": list(self.frozen),
        }
        return provenance(list(lesson.gold_texts), list(lesson.gold_labels), seed=seed, learned=counts)


def teach(
    lesson: Lesson,
    *,
    encoder: Encoder,
    fusion: AnswerFusion | None = None,
    model: ModelName = "auto",
    calibration: CalibrationName = "temperature",
    input_key: str = "input",
    seed: int = 0,
) -> Learned:
    """Fit a small model on labelled rows and on a stream.

    It takes three fits: on the labelled rows, with what the large model has answered, and with the rest of the stream.

    Args:
        lesson: The rows.
        encoder: Encoder of the texts.
        fusion: What weighs both answers, if the large model has answered too few labelled rows to fit one.
        model: The members of the small model. See `SmallModelScorer.fit`.
        calibration: Its calibration.
        input_key: The key of a dict under which the text will be.
        seed: Seed of all random draws.

    Raises:
        TrainingDataError: There are too few labelled rows, or it is not known how often the large model is right.
    """
    names = lesson.labels
    vectors = encoder.encode([*lesson.gold_texts, *lesson.texts])

    def fit(soft: SoftRows) -> SmallModelScorer:
        return SmallModelScorer.fit(
            lesson.gold_texts,
            lesson.gold_labels,
            encoder=encoder,
            model=model,
            calibration=calibration,
            seed=seed,
            input_key=input_key,
            soft=soft,
            vectors=vectors,
        )

    soft = SoftRows.unknown(lesson.texts, n_folds=FOLDS, n_classes=len(names))
    before = fit(soft)
    fusion = _fusion(lesson, before, fusion)
    answers, told = lesson.columns(lesson.answers), lesson.columns(lesson.gold_answers)
    frozen = frozen_classes(lesson.columns(lesson.gold_labels), told, len(names))
    confidences = confidence_column(lesson.confidences, lesson.answers)
    after = before
    asked = answers >= 0
    for rows in (np.flatnonzero(asked), np.flatnonzero(~asked)):  # what is kept, is believed by who has learned already
        if len(rows):
            taught = soft_targets(
                _foreseen(after, soft, rows),
                answers[rows],
                fusion.posterior,
                confidences=confidences[rows],
                frozen=frozen,
            )
            soft = soft.taught(rows, taught)
            after = fit(soft)
    stopped = tuple(name for name, is_frozen in zip(names, frozen, strict=True) if is_frozen)
    return Learned(scorer=after, before=before, lesson=lesson, fusion=fusion, frozen=stopped)


def _fusion(lesson: Lesson, before: SmallModelScorer, known: AnswerFusion | None) -> AnswerFusion:
    """What weighs the answers of the stream, from the labelled rows if the large model has answered enough of them.

    Raises:
        TrainingDataError: Nothing tells how often the large model is right.
    """
    views = before.out_of_fold
    rows = [row for row, answer in enumerate(lesson.gold_answers) if answer is not None]
    if views is not None and len(rows) >= FEWEST_TUNING_ROWS:
        return AnswerFusion.fit(
            [views[row] for row in rows],
            [lesson.gold_labels[row] for row in rows],
            [lesson.gold_answers[row] for row in rows],
            names=lesson.labels,
        )
    if known is not None and known.labels == lesson.labels:
        return known
    msg = (
        f"Got {len(rows)} labelled rows with a large answer, and no fusion, but learning must know how "
        f"often the large model is right. Ask it about {FEWEST_TUNING_ROWS} labelled rows or more, and give them to "
        "store.add_gold(texts, labels, large_answers=...)"
    )
    raise TrainingDataError(msg)


def _foreseen(scorer: SmallModelScorer, soft: SoftRows, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each fold's model said of rows that it had not seen, of shape [folds + 1, rows, classes]."""
    found = scorer.classifier.foreseen
    if found is None:
        msg = "Got a scorer that has foreseen no rows but expected one that was fitted with soft rows"
        raise TrainingDataError(msg)
    return found[:, np.searchsorted(soft.foreseen, rows)]
