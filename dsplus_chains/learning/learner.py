"""`learn`: a bundle whose small model has learned from what the large one answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any, get_args

from dsplus_chains.learning.bootstrapping import LABELLED_BY, is_labelled_by_large
from dsplus_chains.learning.decisions import answers_read, decisions_in, labelled_in
from dsplus_chains.learning.image_decisions import only_for_images, with_images
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.retuning import Aim, TunedFor, tuned_anew
from dsplus_chains.learning.student import Learned, Method, teach
from dsplus_chains.schema import InvalidInputError, Label, TrainingDataError, check_choice, check_kind, is_number
from dsplus_chains.scoring.ensemble import CalibrationName, ModelName
from dsplus_chains.scoring.members.heads import head_among
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.training_examples import read_inputs
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.tuning.tuned import TunedThreshold


def learn(
    bundle: Bundle,
    experience: Any,
    *,
    gold: Any = None,
    images: Iterable[Any] | None = None,
    aim: Aim = "calls",
    method: Method = "refit",
    eps: float | None = None,
    rationale_weight: float = 0.0,
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
        experience: An `ExperienceStore`, what `read_logs` returned, or decisions in the order of their time. True
            labels in it become labelled rows.
        gold: Labelled texts and their labels, as a pair of columns, or a data frame with the columns "text" and
            "label". By default they are the examples that the bundle keeps. One of images keeps none.
        images: The images that the decisions are on, if the small model reads images. A store keeps only their hashes.
            Decisions on other images teach nothing. `encoding.images_in` takes all that are in a folder.
        aim: What the new threshold is for. "calls" takes the cheapest chain that is no less accurate than the first one
            was. "accuracy" tunes for the same objective again. Both need labelled rows that the large model has
            answered too. With fewer than 50, the threshold and the fusion stay as they are. A certificate is about one
            small model, so a bundle tuned with `max_risk` comes back without a threshold.
        method: How the small model learns from the stream. "refit" is what is said above. "2cd" is the paper's own
            two-stage confidence distillation. The network takes further steps, in turn towards what the large model
            said and towards what the small model had said. Labels calibrate it anew, and the other members stay as
            they are. It takes less time and teaches less; the part `2cd` of `make bench-learning` compares them.
        eps: Only for "2cd": a model's answer is learned from if its confidence is above this. By default it is the
            bundle's threshold, else 0.9.
        rationale_weight: Weight of a second loss of the network. It is to predict, from its hidden layer, the vector of
            the large model's reason (``LabelTask(rationale=True)``). A row without a reason, or with one for an answer
            that is known to be wrong, has no such loss. Nothing of this is left once the network is fitted. 0 is
            exactly the fit without reasons. With "2cd" it is about the labelled rows alone. A small model of images
            has no vectors of reasons, so it takes 0 alone. No gain has been measured so far; see
            `tests/bench/README.md`.
        seed: Seed of all random draws.

    Returns:
        Another bundle. Its metadata tell what it learned from.

    Raises:
        InvalidInputError: A number is out of bounds, a word is unknown, or the small model cannot learn in the way that
            is wanted.
        TrainingDataError: There are too few labelled rows, or no rows to learn from. Or it is not known how often the
            large model is right. Or there is no reason to learn from. Or the decisions are on images, and none of these
            is given.

    Source: two-stage confidence distillation of DS+ (arXiv 2406.15471, section 3), by default as a refit of every
    member on soft rows instead of gradient steps on one network. Learning from reasons is Distilling step-by-step
    (Hsieh et al. 2023, arXiv 2305.02301), adapted to a classifier.
    """
    check_choice("aim", aim, get_args(Aim))
    check_choice("method", method, get_args(Method))
    check_kind("bundle", bundle, Bundle)
    check_kind("bundle.scorer", bundle.scorer, SmallModelScorer)
    gate = _gate(bundle) if eps is None else eps
    if not (is_number(rationale_weight, least=0) and rationale_weight < inf):
        msg = f"Got rationale_weight={rationale_weight!r} but expected a number from 0 on, such as 1"
        raise InvalidInputError(msg)
    if rationale_weight and bundle.scorer.modality == "image":
        msg = (
            f"Got rationale_weight={rationale_weight} and a small model of images, whose encoder reads no reasons; "
            "leave it at 0"
        )
        raise InvalidInputError(msg)
    if _model_of(bundle.scorer) == "linear" and (method == "2cd" or rationale_weight):
        msg = (
            f"Got method={method!r}, rationale_weight={rationale_weight} and a small model without a network, which "
            "alone takes steps and has a hidden layer; leave both as they are by default"
        )
        raise InvalidInputError(msg)
    if not (is_number(gate, least=0) and gate < 1):
        msg = f"Got eps={eps!r} but expected a number from 0 up to, but not including, 1"
        raise InvalidInputError(msg)
    texts, labels = _examples(bundle) if gold is None else labelled_in(gold)
    given = only_for_images(images, bundle.scorer.modality)
    decisions = answers_read(decisions_in(experience, modality=bundle.scorer.modality), bundle.task.parser)
    if bundle.scorer.modality == "image":
        texts = read_inputs(texts, modality="image")
        decisions = with_images(decisions, given, labelled=texts)
    lesson = Lesson.of(decisions, labels=bundle.scorer.labels, gold_texts=texts, gold_labels=labels)
    if not lesson.asked and all(row.label is None for row in lesson.stream):
        msg = (
            f"Got {len(lesson.stream)} decisions without a large answer to learn from but expected some; record more, "
            "with data_shunt(..., experience=store)"
        )
        raise TrainingDataError(msg)
    head, copies = head_among(bundle.scorer.classifier.members)
    learned = teach(
        lesson,
        encoder=bundle.scorer.encoder,
        fusion=bundle.fusion,
        model=_model_of(bundle.scorer),
        head=head,
        copies=copies,
        calibration=_calibration_of(bundle.scorer),
        input_key=bundle.scorer.input_key,
        method=method,
        eps=gate,
        rationale_weight=rationale_weight,
        seed=seed,
    )
    return _with(bundle, learned, aim=aim, method=method, rationale_weight=rationale_weight, seed=seed)


def _gate(bundle: Bundle) -> float:
    """How sure a model must be for "2cd" to learn from it: as sure as the chain wants it, if that is one number."""
    level = None if bundle.tuned is None else bundle.tuned.threshold
    return level if isinstance(level, float) and 0 <= level < 1 else 0.9


def _with(bundle: Bundle, learned: Learned, *, aim: Aim, method: Method, rationale_weight: float, seed: int) -> Bundle:
    """The bundle with the small model that has learned, and its threshold."""
    was = TunedFor.of(bundle)
    tuned = tuned_anew(learned, was, aim=aim, seed=seed)
    kept = bundle.task.examples
    task = bundle.task if kept is None else bundle.task.replace(examples=learned.examples(kept))
    if is_labelled_by_large(bundle) and task.track_record is None:
        task = task.replace(track_record="auto")  # there are true labels to tell it by now
    told = learned.provenance(seed=seed)
    told["learned"] |= {"from": bundle.metadata.get("data_sha256"), "aim": aim, "method": method}
    if rationale_weight:
        told["learned"] |= {"rationale_weight": rationale_weight, "rationales": learned.lesson.reasons}
    if tuned is not None and was is not None:
        told["learned"]["tuned_for"] = was.after(tuned)
    if tuned is None and (was is None or "max_risk" not in was.constraints):
        tuned = bundle.tuned  # too few rows to choose another one
    elif tuned is not None:
        tuned = _within(tuned, bundle, learned.scorer)
    metadata = {name: value for name, value in bundle.metadata.items() if name != LABELLED_BY} | told
    return Bundle(scorer=learned.scorer, tuned=tuned, task=task, large=bundle.large, metadata=metadata)


def _within(tuned: TunedThreshold, bundle: Bundle, scorer: SmallModelScorer) -> TunedThreshold:
    """The threshold with a bound on the distance, if the bundle had one, for the same share of training examples."""
    limit = None if bundle.tuned is None else bundle.tuned.max_ood_score
    known, new = bundle.scorer.classifier.own_distances, scorer.classifier.own_distances
    if limit is None or known is None or new is None:
        return tuned
    share = float((known <= limit).mean())
    return replace(tuned, max_ood_score=scorer.ood_limit(share or 0.99))


def _examples(bundle: Bundle) -> tuple[list[str], list[Label]]:
    """The labelled examples that a bundle keeps."""
    kept = None if is_labelled_by_large(bundle) else bundle.task.examples
    rows = () if kept is None else kept.exemplars
    return [row.input for row in rows], [row.label for row in rows]


def _model_of(scorer: SmallModelScorer) -> ModelName:
    """The members of a small model. One of few examples is linear, but need not stay so."""
    if scorer.classifier.early_exit is not None:
        return "fast"
    alone = {member.kind for member in scorer.classifier.members} <= {"linear", "likeness"}
    return "linear" if alone and scorer.held_out is not None else "auto"


def _calibration_of(scorer: SmallModelScorer) -> CalibrationName:
    calibrator = scorer.classifier.calibrator
    kind: CalibrationName = "temperature" if calibrator is None else calibrator.to_dict()["kind"]
    return kind
