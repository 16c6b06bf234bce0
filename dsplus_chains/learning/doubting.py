"""`least_sure` finds the inputs whose true label is worth asking a person for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsplus_chains.learning.bootstrapping import is_labelled_by_large
from dsplus_chains.learning.decisions import answers_read, decisions_in
from dsplus_chains.learning.experience import Experience
from dsplus_chains.learning.image_decisions import only_for_images, with_images
from dsplus_chains.schema import Prediction, brief_repr, check_kind, check_least
from dsplus_chains.storage.bundle import Bundle


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An input that both models together are not sure of.

    Args:
        row: The last decision on it.
        small: What the bundle's small model says of it.
        large: What the large model answered.
        both: What both together say. It is what the small model says where the bundle weighs no answers.
    """

    row: Experience
    small: Prediction
    large: Any
    both: Prediction


def least_sure(bundle: Bundle, experience: Any, n: int = 100, *, images: Iterable[Any] | None = None) -> list[Doubt]:
    """Find the inputs that the large model has answered, and of which both models together are least sure.

    An input that has a true label already, in the experience or among those of the bundle, is left out.

    Args:
        bundle: The bundle, whose small model looks at the inputs anew.
        experience: An `ExperienceStore`, what `read_logs` returned, or decisions in the order of their time.
        n: Number of inputs.
        images: The images that the decisions are on, if the small model reads images. A store keeps only their hashes.
            Decisions on other images are left out. `encoding.images_in` takes all that are in a folder.

    Returns:
        The least sure first. Give their labels to `ExperienceStore.attach`, with the origin "label".

    Raises:
        TrainingDataError: The decisions are on images, and none of these is given.
        InvalidInputError: There are images where texts are read, or something among them is none. Or an argument is of
            another kind.
    """
    check_kind("bundle", bundle, Bundle)
    check_least("n", n, 0)
    modality = bundle.scorer.modality
    given = only_for_images(images, modality)
    decisions = answers_read(decisions_in(experience, modality=modality), bundle.task.parser)
    if modality == "image":
        decisions = with_images(decisions, given)
    held_out = None if is_labelled_by_large(bundle) else bundle.scorer.held_out
    labelled = set() if held_out is None else {f"{known:016x}" for known in held_out.texts.tolist()}
    asked: dict[str, Experience] = {}
    for row in decisions:
        if row.gold is not None:
            labelled.add(row.text_hash)
        if row.text and row.large is not None:
            asked[row.text_hash] = row  # the last answer counts
    rows = [row for key, row in asked.items() if key not in labelled]
    if not rows:
        return []
    views: list[Prediction] = [record["prediction"] for record in bundle.scorer.batch([row.text for row in rows])]
    answers, sure = [row.large for row in rows], [row.large_confidence for row in rows]
    both = views if bundle.fusion is None else bundle.fusion.fuse(views, answers, sure)
    order = np.argsort([view.confidence or 0.0 for view in both], kind="stable")[:n].tolist()
    return [Doubt(row=rows[at], small=views[at], large=answers[at], both=both[at]) for at in order]
