"""`bootstrap`: a bundle from what a large model has answered, with or without labelled rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import ValidationError

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.learning.decisions import answers_read, decisions_in, labelled_in
from dsplus_chains.learning.experience import CHOSEN_BY_ERRORS, Experience
from dsplus_chains.learning.image_decisions import with_images
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.retuning import tuned_anew
from dsplus_chains.learning.student import FEWEST_TUNING_ROWS, teach
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.matching import plain
from dsplus_chains.schema import (
    BundleError,
    InvalidInputError,
    Label,
    TrainingDataError,
    TrainingDataWarning,
    check_listed,
    each_once,
    label_key,
    label_reader,
    shown,
    what_came,
)
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.training_examples import read_inputs
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.origin import provenance
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.bounds import check_bounds
from dsplus_chains.tuning.threshold_tuning import tune_threshold

FEWEST_OF_LABEL = 2
"""Labels with fewer answers cannot be learned."""


LABELLED_BY, LARGE_MODEL = "labelled_by", "the large model"
"""What the metadata of a bundle say whose labels are no truth."""


def is_labelled_by_large(bundle: Bundle) -> bool:
    """Whether a bundle's labels are what the large model answered. Then they are no truth."""
    return bundle.metadata.get(LABELLED_BY) == LARGE_MODEL


def bootstrap(
    source: Any,
    gold: Any = None,
    *,
    instruction: str = "Which of these labels fits the input?",
    labels: Sequence[Label] | None = None,
    text: str = "text",
    answer: str = "answer",
    modality: Modality = "text",
    images: Iterable[Any] | None = None,
    encoder: str | Encoder | Embeddings = "auto",
    head: HeadName = "mlp",
    copies: int = 1,
    min_gain: float = 0.05,
    keep_examples: bool = True,
    seed: int = 0,
    **settings: Any,
) -> Bundle:
    """Make a bundle from logged answers of a large model.

    Without labelled rows, nothing is known of the truth. The small model then learns to agree with the large one, and
    the threshold keeps the answers on which both agree. Its numbers are **agreement**, and they say so. They are no
    accuracy. A few corrections teach it in the place of the answers, and are left out of the numbers. A correction to
    what is none of the labels leaves its row out.

    With labelled rows, the small model learns what both together say, as in `learn`. Its numbers are then accuracy, by
    the labelled rows that the large model has answered too.

    Args:
        source: An `ExperienceStore`, what `read_logs` returned, a data frame, or decisions (`Experience`).
        gold: Labelled texts and their labels, as a pair of columns, or a data frame with the columns "text" and
            "label". 50 of them or more must be among the logged texts. By default they are those of a store, if it
            holds as many.
        instruction: What the large model was asked to decide.
        labels: The labels. By default they are those of the labelled texts. Without them, they are all answers that
            come twice or more, where answers that read alike count as one. An answer that is none of the labels, as a
            chain reads it, is left out. A warning tells how many are.
        text: Column of the texts, for a data frame.
        answer: Column of the answers, for a data frame.
        modality: What the large model was asked about, "text" or "image". Images may come in any form that `read_image`
            knows.
        images: The images that the decisions in a store are on. It keeps only their hashes. Decisions on other images
            teach nothing.
        encoder: The encoder of the small model. See `SmallModelScorer.fit`, as the next two.
        head: The network among its members.
        copies: Number of such networks.
        min_gain: What a call of the large model must gain. See `tune_threshold`. By agreement, an answer of the small
            model is kept where both agree with a chance of at least 1 - `min_gain`.
        keep_examples: Whether the bundle keeps texts, so that some can be shown to the large model. It keeps no images.
        seed: Seed of all random draws.
        **settings: Further settings of the task. See `LabelTask`.

    Returns:
        A tuned bundle. Without labelled rows its `tuned.against` is "large_answers".

    Raises:
        TrainingDataError: There are too few answers, or too few labelled rows. Or the small model has no such network.
            Or a store has decisions on images, and none of these is given.
        InvalidInputError: Something is no image, or there are images where texts are read. Or there is a source, a
            label or a number of another kind.
        BundleError: A setting of the task is unknown or out of bounds.
    """
    check_listed("labels", labels)
    check_bounds("accuracy", dict.fromkeys(("max_escalation", "max_cost", "max_risk")), min_gain=min_gain)
    found = decisions_in(source, text=text, answer=answer, modality=modality)
    truth = _truth(found) if gold is None else labelled_in(gold)
    if modality == "image":
        truth = None if truth is None else (read_inputs(truth[0], modality="image"), truth[1])
        found = with_images(found, () if images is None else images, labelled=() if truth is None else truth[0])
    elif images is not None:
        msg = 'Got images= and modality="text" but expected one or the other; say modality="image"'
        raise InvalidInputError(msg)
    if labels is None and truth is not None:
        labels = each_once([*truth[1], *(row.gold for row in found if row.gold is not None)])
    names = _names(found) if labels is None else tuple(labels)
    task = _task(names, {**settings, "instruction": instruction})
    rows = answers_read(found, task.parser)
    encoder = as_encoder(encoder, modality=modality)
    keep_examples = keep_examples and modality == "text"
    settings = {**settings, "instruction": instruction}
    if truth is None:
        return _agreeing(
            rows,
            names,
            {"modality": modality, "encoder": encoder, "head": head, "copies": copies, "seed": seed},
            min_gain=min_gain,
            keep_examples=keep_examples,
            settings=settings,
        )
    lesson = Lesson.of(rows, labels=names, gold_texts=truth[0], gold_labels=truth[1])
    learned = teach(lesson, encoder=encoder, head=head, copies=copies, seed=seed)
    if keep_examples:
        settings["examples"] = learned.examples()
    tuned = tuned_anew(learned, None, min_gain=min_gain, seed=seed)
    return Bundle(scorer=learned.scorer, tuned=tuned, metadata=learned.provenance(seed=seed), **settings)


def _names(rows: Sequence[Experience]) -> tuple[Label, ...]:
    """The labels that the answers name: each that comes twice or more.

    Answers that read alike are one label, in the spelling that comes most often.

    Args:
        rows: The decisions.

    Raises:
        TrainingDataError: No label has two answers.
    """
    spellings: dict[Any, Counter[Any]] = {}
    for row in rows:
        if isinstance(row.large, (str, int)):
            form = plain(row.large) if isinstance(row.large, str) else ""
            spellings.setdefault(form or label_key(row.large), Counter())[label_key(row.large)] += 1
    often = [found.most_common() for found in spellings.values() if found.total() >= FEWEST_OF_LABEL]
    if not often:
        given = [row.large for row in rows if row.large is not None]
        such = f", such as {what_came(given[0])}," if given else ""
        msg = (
            f"Got {len(given)} answers{such} but expected texts, integers or truth values, some of them twice. Are "
            "they free text? Give labels=[...]"
        )
        raise TrainingDataError(msg)
    if several := next((found for found in often if len(found) > 1), None):
        ((_, first), n), ((_, other), m) = several[:2]
        msg = (
            f"Got answers that read alike, such as {shown(first)} ({n} times) and {shown(other)} ({m} times). They "
            f"count as {shown(first)}; give labels=[...] to keep them apart"
        )
        warnings.warn(msg, TrainingDataWarning, stacklevel=3)
    return tuple(found[0][0][1] for found in often)


def _task(names: Sequence[Label], settings: Mapping[str, Any]) -> LabelTask:
    """The task without its examples, which are not there yet.

    Raises:
        BundleError: A setting is unknown or out of bounds, or a label is none.
    """
    try:
        return LabelTask(labels=tuple(names), **{name: told for name, told in settings.items() if name != "exemplars"})
    except ValidationError as error:
        raise BundleError(str(error)) from error


def _truth(rows: Sequence[Experience]) -> tuple[list[Any], list[Any]] | None:
    """No labelled rows beside those of a store, if it holds enough of them. None if it does not."""
    known = {row.text_hash for row in rows if row.gold is not None and row.gold_origin not in CHOSEN_BY_ERRORS}
    return ([], []) if len(known) >= FEWEST_TUNING_ROWS else None


def _agreeing(
    rows: Sequence[Experience],
    names: Sequence[Label],
    fitting: dict[str, Any],
    *,
    min_gain: float,
    keep_examples: bool,
    settings: dict[str, Any],
) -> Bundle:
    """A bundle that agrees with the large model. A few true labels teach, but do not judge.

    Args:
        rows: The decisions.
        names: The labels.
        fitting: What `SmallModelScorer.fit` gets beside the examples.
        min_gain: What a call of the large model must gain.
        keep_examples: Whether the bundle keeps texts.
        settings: Settings of the task.
    """
    seed = fitting["seed"]
    read = label_reader(names)
    true = {row.text_hash: read(row.gold) for row in rows if row.gold is not None}
    last = {row.text_hash: (row.text, row.large) for row in rows if row.text and row.large is not None}
    last |= {row.text_hash: (row.text, true[row.text_hash]) for row in rows if row.text and row.text_hash in true}
    if strange := [row.gold for row in rows if row.text_hash in true and true[row.text_hash] is None]:
        msg = f"Got true labels that are none of the labels, such as {shown(strange[0])}; their rows are left out"
        warnings.warn(msg, TrainingDataWarning, stacklevel=3)
    counts = Counter(label_key(said) for _, said in last.values())
    rank = {label_key(name): number for number, name in enumerate(names)}
    often = [
        (text, said, key not in true)
        for key, (text, said) in last.items()
        if said is not None and counts[label_key(said)] >= FEWEST_OF_LABEL
    ]
    if not often:
        msg = (
            f"Got {len(last)} different texts with an answer, none of whose labels has {FEWEST_OF_LABEL} of them, but "
            "expected more of each label; copies of a text count once"
        )
        raise TrainingDataError(msg)
    if rare := [name for name in names if counts[label_key(name)] < FEWEST_OF_LABEL]:
        msg = f"Got fewer than {FEWEST_OF_LABEL} answers of {rare[:5]}, so the small model does not know these labels"
        warnings.warn(msg, TrainingDataWarning, stacklevel=3)
    often.sort(key=lambda row: rank[label_key(row[1])])  # so the labels keep their order
    texts, answers, by_large = map(list, zip(*often, strict=True))
    scorer = SmallModelScorer.fit(texts, answers, **fitting)
    views, tuned = scorer.out_of_fold, None
    if views is not None and any(by_large):
        both, said, on = (list(compress(one, by_large)) for one in (views, answers, texts))
        tuned = tune_threshold(both, said, said, texts=on, out_of_fold=True, min_gain=min_gain, seed=seed)
        tuned = replace(tuned, against="large_answers")
    if keep_examples:
        vectors = scorer.example_vectors
        settings["examples"] = ExemplarSelector.fit(
            texts, answers, encoder=fitting["encoder"], predictions=views, vectors=vectors
        )
    told = provenance(texts, answers, seed=seed, **{LABELLED_BY: LARGE_MODEL})
    settings = {"track_record": None, **settings}  # how often it agreed is not how often it was right
    return Bundle(scorer=scorer, tuned=tuned, metadata=told, **settings)
