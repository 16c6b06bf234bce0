"""`teach` fits a small model on labelled rows and on a stream that the large model has answered in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.modality import modality_of
from dsplus_chains.encoding.pair import PairEncoder
from dsplus_chains.gating.answer_table import confidence_column
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.teaching import frozen_classes, soft_targets, sure_targets
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import Label, TrainingDataError, brief_repr
from dsplus_chains.scoring.ensemble import FOLDS, CalibrationName, ModelName
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.rationales import Rationales
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.soft_rows import SoftRows
from dsplus_chains.storage.origin import provenance

Method: TypeAlias = Literal["refit", "2cd"]

FEWEST_TUNING_ROWS = 50
"""Smallest number of labelled rows with a large answer by which both models are weighed, or a threshold is chosen."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Learned:
    """A small model that has learned, and what it learned from.

    Args:
        scorer: The small model.
        lesson: The rows.
        frozen: The labels that the large model taught nothing about.
        vectors: The vectors of the labelled rows.
    """

    scorer: SmallModelScorer
    lesson: Lesson
    frozen: tuple[Label, ...]
    vectors: NDArray[np.float32]

    def examples(self, like: ExemplarSelector | None = None) -> ExemplarSelector:
        """The labelled rows as examples to show to the large model.

        Args:
            like: The selector whose settings are kept.
        """
        names = ("k", "diversity", "per_label", "input_key")
        return ExemplarSelector.fit(
            [row.text for row in self.lesson.gold],
            [row.label for row in self.lesson.gold],
            encoder=self.scorer.encoder,
            predictions=self.scorer.out_of_fold,
            vectors=self.vectors,
            **({} if like is None else {name: getattr(like, name) for name in names}),
        )

    def provenance(self, *, seed: int) -> dict[str, Any]:
        """Where the small model comes from, as plain data for `Bundle.metadata`."""
        lesson = self.lesson
        counts = {
            "stream": len(lesson.stream),
            "large_answers": lesson.asked,
            "labelled_with_large_answer": len(lesson.answered),
            "frozen": list(self.frozen),
        }
        texts, labels = [row.text for row in lesson.gold], [row.label for row in lesson.gold]
        return provenance(texts, labels, seed=seed, learned=counts)


def teach(
    lesson: Lesson,
    *,
    encoder: Encoder,
    fusion: AnswerFusion | None = None,
    model: ModelName = "auto",
    head: HeadName = "mlp",
    copies: int = 1,
    calibration: CalibrationName = "temperature",
    input_key: InputKey = "input",
    method: Method = "refit",
    eps: float = 0.9,
    rationale_weight: float = 0.0,
    seed: int = 0,
) -> Learned:
    """Fit a small model on labelled rows and on a stream.

    A refit takes three fits: on the labelled rows, with what the large model has answered, and with the rest of the
    stream. Two-stage confidence distillation takes two: on the labelled rows, and with the network's steps after it.

    Args:
        lesson: The rows.
        encoder: Encoder of the texts.
        fusion: What weighs both answers, if the large model has answered too few labelled rows to fit one.
        model: The members of the small model. See `SmallModelScorer.fit`.
        head: The network among them.
        copies: Number of such networks.
        calibration: Its calibration.
        input_key: The key of a dict under which the text will be.
        method: How the small model learns from the stream. See `learn`.
        eps: The confidence that "2cd" learns from, if a model is surer than that.
        rationale_weight: How much the network learns from the large model's reasons. See `learn`.
        seed: Seed of all random draws.

    Raises:
        TrainingDataError: There are too few labelled rows, or it is not known how often the large model is right. Or no
            row has a reason that could be learned from.
    """
    names, gold, stream = lesson.labels, lesson.gold, lesson.stream
    if method == "refit" and len(lesson.answered) < FEWEST_TUNING_ROWS and not _weighs(fusion, lesson):
        raise _unknown_worth(lesson)  # before any work
    batch = TextBatch.reading([row.text for row in (*gold, *stream)], encoder)  # all fits share its vectors
    if rationale_weight:
        batch.rationales = _rationales(lesson, encoder, rationale_weight)

    def fit(soft: SoftRows) -> SmallModelScorer:
        return SmallModelScorer.fit(
            [row.text for row in gold],
            [row.label for row in gold],
            modality=modality_of(encoder),
            encoder=encoder,
            model=model,
            head=head,
            copies=copies,
            calibration=calibration,
            seed=seed,
            input_key=input_key,
            soft=soft,
            batch=batch,
        )

    soft = SoftRows.unknown([row.text for row in stream], n_folds=FOLDS, n_classes=len(names))
    scorer = fit(soft)
    answers, truths = lesson.numbers(row.answer for row in stream), lesson.numbers(row.label for row in stream)
    confidences = confidence_column([row.confidence for row in stream], stream)
    sure = np.flatnonzero(truths >= 0)
    if method == "2cd":
        taught, replayed = sure_targets(_foreseen(scorer, soft), answers, eps=eps, confidences=confidences)
        taught[:, sure], replayed[sure] = np.eye(len(names))[truths[sure]], False
        stepped = fit(SoftRows(texts=soft.texts, targets=taught, replayed=replayed))
        return Learned(scorer=stepped, lesson=lesson, frozen=(), vectors=batch.vectors[: len(gold)])
    posterior = _fusion(lesson, scorer, fusion).posterior
    known = lesson.numbers(row.label for row in gold), lesson.numbers(row.answer for row in gold)
    frozen = frozen_classes(*known, len(names))
    told = (answers >= 0) | (truths >= 0)
    for rows in (np.flatnonzero(told), np.flatnonzero(~told)):  # what was kept is believed by who has learned the rest
        if len(rows):
            taught = soft_targets(
                _foreseen(scorer, soft)[:, np.searchsorted(soft.foreseen, rows)],
                answers[rows],
                posterior,
                confidences=confidences[rows],
                frozen=frozen,
            )
            labelled = np.flatnonzero(truths[rows] >= 0)
            taught[:, labelled] = np.eye(len(names))[truths[rows][labelled]]
            soft = soft.taught(rows, taught)
            scorer = fit(soft)
    stopped = tuple(name for name, is_frozen in zip(names, frozen, strict=True) if is_frozen)
    return Learned(scorer=scorer, lesson=lesson, frozen=stopped, vectors=batch.vectors[: len(gold)])


def _rationales(lesson: Lesson, encoder: Encoder, weight: float) -> Rationales:
    """The reasons of all rows as vectors of the encoder.

    Raises:
        TrainingDataError: There are none.
    """
    reasons = [row.reason for row in (*lesson.gold, *lesson.stream)]
    told = [row for row, reason in enumerate(reasons) if reason]
    if not told:
        msg = (
            f"Got rationale_weight={weight} but no reason of the large model; record some, with "
            "data_shunt(..., task=LabelTask(..., rationale=True), experience=store)"
        )
        raise TrainingDataError(msg)
    reader = encoder.encoder if isinstance(encoder, PairEncoder) else encoder  # a reason is one text
    found = reader.encode([reasons[row] or "" for row in told])
    vectors = np.full((len(reasons), found.shape[1]), np.nan, dtype=np.float32)
    vectors[told] = found
    return Rationales(vectors=vectors, weight=weight)


def _fusion(lesson: Lesson, scorer: SmallModelScorer, known: AnswerFusion | None) -> AnswerFusion:
    """What weighs the answers of the stream, from the labelled rows if the large model has answered enough of them.

    Raises:
        TrainingDataError: Nothing tells how often the large model is right.
    """
    views, rows = scorer.out_of_fold, lesson.answered
    if views is not None and len(rows) >= FEWEST_TUNING_ROWS:
        return AnswerFusion.fit(
            [views[row] for row in rows],
            [lesson.gold[row].label for row in rows],
            [lesson.gold[row].answer for row in rows],
            large_confidences=[lesson.gold[row].confidence for row in rows],
            names=lesson.labels,
        )
    if known is None or not _weighs(known, lesson):
        raise _unknown_worth(lesson)
    return known


def _weighs(fusion: AnswerFusion | None, lesson: Lesson) -> bool:
    """Whether a fusion knows the labels."""
    return fusion is not None and fusion.labels == lesson.labels


def _unknown_worth(lesson: Lesson) -> TrainingDataError:
    msg = (
        f"Got {len(lesson.answered)} labelled rows with a large answer, and no fusion, but learning must know how "
        f"often the large model is right. Ask it about {FEWEST_TUNING_ROWS} labelled rows or more, and give them to "
        "store.add_gold(texts, labels, large_answers=...), or have them among the logged texts"
    )
    return TrainingDataError(msg)


def _foreseen(scorer: SmallModelScorer, soft: SoftRows) -> NDArray[np.float64]:
    """What each fold's model said of the rows that it had not seen, of shape [folds + 1, rows, classes]."""
    found = scorer.classifier.foreseen
    if found is None or found.shape[1] != len(soft.foreseen):
        msg = "Got a scorer that has not foreseen these rows but expected one that was fitted with them as soft rows"
        raise TrainingDataError(msg)
    return found
