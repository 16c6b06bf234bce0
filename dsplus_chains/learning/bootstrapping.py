"""`bootstrap`: a bundle from what a large model has answered, with or without labelled rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.exceptions import OutputParserException

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.learning.experience import CHOSEN_BY_ERRORS, Experience, hash_of_input
from dsplus_chains.learning.experience_store import ExperienceStore
from dsplus_chains.learning.image_decisions import with_images
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.retuning import tuned_anew
from dsplus_chains.learning.student import FEWEST_TUNING_ROWS, teach
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    TrainingDataError,
    TrainingDataWarning,
    as_cell,
    column_of,
    each_once,
    is_missing,
    label_key,
)
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.training_examples import read_inputs
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.origin import provenance
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
    accuracy.

    With labelled rows, the small model learns what both together say, as in `learn`. Its numbers are then accuracy, by
    the labelled rows that the large model has answered too.

    Args:
        source: An `ExperienceStore`, what `read_logs` returned, a data frame, or decisions (`Experience`).
        gold: Labelled texts and their labels, as a pair of columns, or a data frame with the columns "text" and
            "label". 50 of them or more must be among the logged texts. By default they are those of a store, if it
            holds as many.
        instruction: What the large model was asked to decide.
        labels: The labels. By default they are those of the labelled texts. Without them, they are all answers that
            come twice or more. What is none of the labels, as a chain reads it, is left out.
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
        InvalidInputError: Something is no image, or there are images where texts are read.
    """
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
    rows, names = _read(found, labels)
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


def decisions_in(
    source: Any, *, text: str = "text", answer: str = "answer", modality: Modality = "text"
) -> list[Experience]:
    """The decisions in a store, in logs, in a data frame, or in what is a list of them already, oldest first.

    Args:
        source: An `ExperienceStore`, `Logs`, a data frame, or decisions.
        text: Column of the texts, for a data frame.
        answer: Column of the answers, for a data frame.
        modality: What the texts of logs or of a data frame are.

    Raises:
        TrainingDataError: A data frame has no such column.
        InvalidInputError: There is no image where one is expected.

    Example:
        >>> [row.large for row in decisions_in({"text": ["a", "b"], "answer": ["x", "y"]})]
        ['x', 'y']
    """
    if isinstance(source, ExperienceStore):
        return list(source.rows())
    if hasattr(source, "answers"):
        texts, answers, confidences, times = source.texts, source.answers, source.confidences, source.times
    elif hasattr(source, "columns") or isinstance(source, Mapping):
        for name in (text, answer):
            if name not in source:
                msg = f"Got no column {name!r} but expected the columns that text= and answer= name"
                raise TrainingDataError(msg)
        texts, answers = column_of(source[text], text), column_of(source[answer], answer)
        confidences = times = [None] * len(texts)
    else:
        return list(source)
    if modality == "image":
        texts = [None if is_missing(image) else read_image(image) for image in texts]
    rows = [
        Experience(text=one, text_hash=hash_of_input(one), large=said, large_confidence=sure, time=when or 0.0)
        for one, said, sure, when in zip(texts, map(as_cell, answers), confidences, times, strict=True)
        if isinstance(one, str) and not is_missing(one)
    ]
    return rows if None in times else sorted(rows, key=lambda row: row.time)  # exports may begin with the newest


def labelled_in(gold: Any) -> tuple[list[Any], list[Any]]:
    """Labelled texts and their labels, as two columns.

    Args:
        gold: A pair of columns, or a data frame with the columns "text" and "label".

    Raises:
        TrainingDataError: It is neither.

    Example:
        >>> labelled_in({"text": ["a"], "label": ["x"]}), labelled_in((["a"], ["x"]))
        ((['a'], ['x']), (['a'], ['x']))
    """
    if hasattr(gold, "columns") or isinstance(gold, Mapping):
        gold = [gold[name] for name in ("text", "label") if name in gold]
    if len(gold) != 2 or len(gold[0]) != len(gold[1]):
        msg = 'Got no labelled texts but expected (texts, labels) of one length, or the columns "text" and "label"'
        raise TrainingDataError(msg)
    return list(column_of(gold[0], "texts")), [as_cell(label) for label in column_of(gold[1], "labels")]


def _read(rows: Sequence[Experience], labels: Sequence[Label] | None) -> tuple[list[Experience], tuple[Label, ...]]:
    """The decisions with their answers as labels, and the labels. What is no label counts as no answer.

    Args:
        rows: The decisions.
        labels: The labels. None takes every answer that comes often enough.

    Raises:
        TrainingDataError: No label has two answers.
    """
    names = tuple(labels or ())
    if names:
        parser = LabelParser(labels=names)
        rows = [replace(row, large=_label_in(row.large, parser)) for row in rows]
    else:
        given = [label_key(row.large) if isinstance(row.large, (str, int)) else None for row in rows]
        often = {key for key, n in Counter(given).items() if key is not None and n >= FEWEST_OF_LABEL}
        rows = [row if key in often else replace(row, large=None) for row, key in zip(rows, given, strict=True)]
        names = tuple(each_once([row.large for row in rows if row.large is not None]))
    if not names:
        msg = f"Got {len(rows)} answers, none of them twice, but expected labels. Are they free text? Give labels=[...]"
        raise TrainingDataError(msg)
    return rows, names


def _label_in(answer: Any, parser: LabelParser) -> Any:
    """The label that an answer is, None if it is none."""
    try:
        return None if answer is None else parser.parse(answer)
    except OutputParserException:
        return None


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
    """A bundle that agrees with the large model. Nothing else is known.

    Args:
        rows: The decisions.
        names: The labels.
        fitting: What `SmallModelScorer.fit` gets beside the examples.
        min_gain: What a call of the large model must gain.
        keep_examples: Whether the bundle keeps texts.
        settings: Settings of the task.
    """
    seed = fitting["seed"]
    last = {row.text_hash: row for row in rows if row.text and row.large is not None}
    counts = Counter(label_key(row.large) for row in last.values())
    rank = {label_key(name): number for number, name in enumerate(names)}
    often = [row for row in last.values() if counts[label_key(row.large)] >= FEWEST_OF_LABEL]
    if not often:
        msg = (
            f"Got {len(last)} different texts with an answer, none of whose labels has {FEWEST_OF_LABEL} of them, but "
            "expected more of each label; copies of a text count once"
        )
        raise TrainingDataError(msg)
    if rare := [name for name in names if counts[label_key(name)] < FEWEST_OF_LABEL]:
        msg = f"Got fewer than {FEWEST_OF_LABEL} answers of {rare[:5]}, so the small model does not know these labels"
        warnings.warn(msg, TrainingDataWarning, stacklevel=3)
    often.sort(key=lambda row: rank[label_key(row.large)])  # so the labels keep their order
    texts, answers = [row.text or "" for row in often], [row.large for row in often]
    scorer = SmallModelScorer.fit(texts, answers, **fitting)
    views, tuned = scorer.out_of_fold, None
    if views is not None:
        tuned = tune_threshold(views, answers, answers, texts=texts, out_of_fold=True, min_gain=min_gain, seed=seed)
        tuned = replace(tuned, against="large_answers")
    if keep_examples:
        vectors = scorer.example_vectors
        settings["examples"] = ExemplarSelector.fit(
            texts, answers, encoder=fitting["encoder"], predictions=views, vectors=vectors
        )
    told = provenance(texts, answers, seed=seed, **{LABELLED_BY: LARGE_MODEL})
    return Bundle(scorer=scorer, tuned=tuned, metadata=told, **settings)
