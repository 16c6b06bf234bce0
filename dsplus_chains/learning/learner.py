"""`learn`: a bundle whose small model has learned from what the large one answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.gating.answer_table import confidence_column
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.learning.experience import Experience
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.teaching import frozen_classes, soft_targets
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import Label, TrainingDataError, brief_repr
from dsplus_chains.scoring.ensemble import FOLDS, ModelName
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.soft_rows import SoftRows
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.origin import provenance
from dsplus_chains.tuning.threshold_tuning import tune_threshold
from dsplus_chains.tuning.tuned import TunedThreshold

FEWEST_TUNING_ROWS = 50
"""Smallest number of labelled rows with a large answer for choosing a threshold anew."""


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


def learn(
    bundle: Bundle,
    experience: Iterable[Experience],
    *,
    gold: tuple[Sequence[str], Sequence[Label]] | None = None,
    tune: bool = True,
    seed: int = 0,
) -> Bundle:
    """Teach a bundle's small model what the large one answered, and choose the threshold anew.

    The small model is fitted anew on the labelled rows, and on the stream with soft targets. Where the large model
    answered, the target is what both models together say. Elsewhere it is what the small model itself says. Each target
    comes from a model that had not seen the row, and each fold has targets of its own. So the out-of-fold predictions
    of the labelled rows stay honest, and calibrate and tune as before.

    It does not say that the new bundle is better. `promote` does.

    Args:
        bundle: The bundle.
        experience: An `ExperienceStore`, or any decisions in the order of their time. True labels in it become labelled
            rows.
        gold: Labelled texts and their labels. By default they are the examples that the bundle keeps.
        tune: Whether to choose the threshold and fit the fusion anew, for the objective that the bundle was tuned for.
            It takes labelled rows that the large model has answered too. With fewer than 50, both stay as they are. A
            certificate is about one small model, so a bundle tuned with `max_risk` comes back without a threshold.
        seed: Seed of all random draws.

    Returns:
        Another bundle. Its metadata tell what it learned from.

    Raises:
        TrainingDataError: There are too few labelled rows, or no rows to learn from. Or it is not known how often the
            large model is right.

    Source: two-stage confidence distillation of DS+ (arXiv 2406.15471, section 3), as a refit of every member on soft
    rows instead of gradient steps on one network.
    """
    texts, labels = gold if gold is not None else _examples(bundle)
    lesson = Lesson.of(experience, labels=bundle.scorer.labels, gold_texts=texts, gold_labels=labels)
    if not lesson.asked:
        msg = (
            f"Got {len(lesson.texts)} decisions without a large answer to learn from but expected some; record more, "
            "with data_shunt(..., experience=store)"
        )
        raise TrainingDataError(msg)
    learned = teach(bundle, lesson, seed=seed)
    tuned = tuned_anew(bundle, learned, seed=seed) if tune else bundle.tuned
    return _with(bundle, learned, tuned, seed=seed)


def teach(bundle: Bundle, lesson: Lesson, *, seed: int = 0) -> Learned:
    """Fit a small model on labelled rows and on a stream, as `learn` does.

    Args:
        bundle: The bundle whose encoder, members and fusion are used.
        lesson: The rows.
        seed: Seed of all random draws.

    Raises:
        TrainingDataError: There are too few labelled rows, or it is not known how often the large model is right.
    """
    scorer, names = bundle.scorer, lesson.labels
    vectors = scorer.encoder.encode([*lesson.gold_texts, *lesson.texts])

    def fit(soft: SoftRows) -> SmallModelScorer:
        return SmallModelScorer.fit(
            lesson.gold_texts,
            lesson.gold_labels,
            encoder=scorer.encoder,
            model=_model_of(scorer),
            calibration=_calibration_of(scorer),
            seed=seed,
            input_key=scorer.input_key,
            soft=soft,
            vectors=vectors,
        )

    soft = SoftRows.unknown(lesson.texts, n_folds=FOLDS, n_classes=len(names))
    before = fit(soft)
    fusion = _fusion(bundle, lesson, before)
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


def tuned_anew(bundle: Bundle, learned: Learned, *, seed: int = 0) -> TunedThreshold | None:
    """The threshold for a small model that has learned, by the labelled rows that the large model has answered.

    Args:
        bundle: The bundle as it was. Its objective and its bounds are kept.
        learned: What was learned.
        seed: Seed of the bootstrap and the folds.
    """
    lesson, was, views = learned.lesson, bundle.tuned, learned.scorer.out_of_fold
    if was is not None and "max_risk" in was.constraints:
        return None
    rows = [row for row, answer in enumerate(lesson.gold_answers) if answer is not None]
    if views is None or len(rows) < FEWEST_TUNING_ROWS:
        return was
    kept: dict[str, Any] = {}
    if was is not None:
        kept = {**was.constraints, "objective": was.objective, "set_coverage": was.set_coverage}
    return tune_threshold(
        [views[row] for row in rows],
        [lesson.gold_labels[row] for row in rows],
        [lesson.gold_answers[row] for row in rows],
        texts=[lesson.gold_texts[row] for row in rows],
        fusion="auto",
        out_of_fold=True,
        seed=seed,
        **kept,
    )


def _with(bundle: Bundle, learned: Learned, tuned: TunedThreshold | None, *, seed: int) -> Bundle:
    """The bundle with the small model that has learned."""
    lesson, scorer, examples = learned.lesson, learned.scorer, bundle.task.examples
    if examples is not None:
        examples = ExemplarSelector.fit(
            lesson.gold_texts,
            lesson.gold_labels,
            encoder=scorer.encoder,
            predictions=scorer.out_of_fold,
            k=examples.k,
            diversity=examples.diversity,
            per_label=examples.per_label,
            input_key=examples.input_key,
        )
    told = provenance(list(lesson.gold_texts), list(lesson.gold_labels), seed=seed)
    told["learned"] = {
        "from": dict(bundle.metadata).get("data_sha256"),
        "stream": len(lesson.texts),
        "large_answers": lesson.asked,
        "labelled_with_large_answer": sum(answer is not None for answer in lesson.gold_answers),
        "frozen": list(learned.frozen),
    }
    task = bundle.task.replace(examples=examples)
    return Bundle(scorer=scorer, tuned=tuned, task=task, large=bundle.large, metadata={**bundle.metadata, **told})


def _examples(bundle: Bundle) -> tuple[list[str], list[Label]]:
    """The labelled examples that a bundle keeps."""
    kept = bundle.task.examples
    rows = () if kept is None else kept.exemplars
    return [row.input for row in rows], [row.label for row in rows]


def _fusion(bundle: Bundle, lesson: Lesson, before: SmallModelScorer) -> AnswerFusion:
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
    if bundle.fusion is not None and bundle.fusion.labels == lesson.labels:
        return bundle.fusion
    msg = (
        f"Got {len(rows)} labelled rows with a large answer, and a bundle without a fusion, but learning must know how "
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


def _model_of(scorer: SmallModelScorer) -> ModelName:
    return "linear" if {member.kind for member in scorer.classifier.members} == {"linear"} else "auto"


def _calibration_of(scorer: SmallModelScorer) -> Any:
    calibrator = scorer.classifier.calibrator
    return "temperature" if calibrator is None else calibrator.to_dict()["kind"]
