"""`bootstrap`: a bundle from what a large model has answered, with or without labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.exceptions import OutputParserException

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.learning.experience_store import ExperienceStore
from dsplus_chains.learning.lesson import Lesson
from dsplus_chains.learning.retuning import tuned_anew
from dsplus_chains.learning.student import teach
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.parser import LabelParser
from dsplus_chains.schema import Label, TrainingDataError, as_cell, column_of, each_once, is_missing, label_key
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.origin import provenance
from dsplus_chains.tuning.threshold_tuning import tune_threshold

FEWEST_OF_LABEL = 2
"""Labels with fewer answers cannot be learned."""


def bootstrap(
    source: Any,
    gold: tuple[Sequence[str], Sequence[Label]] | None = None,
    *,
    instruction: str,
    labels: Sequence[Label] | None = None,
    text: str = "text",
    answer: str = "answer",
    encoder: str | Encoder | Embeddings = "auto",
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
        gold: Labelled texts and their labels. 50 of them or more must be among the logged texts.
        instruction: What the large model was asked to decide.
        labels: The labels. Answers are read as a chain reads them, and what is none of them is left out. By default the
            labels are all answers that come twice or more.
        text: Column of the texts, for a data frame.
        answer: Column of the answers, for a data frame.
        encoder: The encoder of the small model. See `SmallModelScorer.fit`.
        min_gain: What a call of the large model must gain. See `tune_threshold`. By agreement, an answer of the small
            model is kept where both agree with a chance of at least 1 - `min_gain`.
        keep_examples: Whether the bundle keeps texts, so that some can be shown to the large model.
        seed: Seed of all random draws.
        **settings: Further settings of the task. See `LabelTask`.

    Returns:
        A tuned bundle. Without labelled rows its `tuned.against` is "large_answers".

    Raises:
        TrainingDataError: There are too few answers, or too few labelled rows.
    """
    rows, names = _read(decisions_in(source, text=text, answer=answer), labels, () if gold is None else gold[1])
    encoder = as_encoder(encoder)
    settings = {**settings, "instruction": instruction}
    if gold is None:
        return _agreeing(rows, encoder, min_gain=min_gain, keep_examples=keep_examples, seed=seed, settings=settings)
    texts, truth = column_of(gold[0], "texts"), column_of(gold[1], "labels")
    lesson = Lesson.of(rows, labels=names, gold_texts=texts, gold_labels=truth)
    learned = teach(lesson, encoder=encoder, seed=seed)
    if keep_examples:
        settings["examples"] = learned.examples()
    tuned = tuned_anew(learned, None, min_gain=min_gain, seed=seed)
    return Bundle(scorer=learned.scorer, tuned=tuned, metadata=learned.provenance(seed=seed), **settings)


def decisions_in(source: Any, *, text: str = "text", answer: str = "answer") -> list[Experience]:
    """The decisions in a store, in logs, in a data frame, or in what is a list of them already.

    Args:
        source: An `ExperienceStore`, `Logs`, a data frame, or decisions.
        text: Column of the texts, for a data frame.
        answer: Column of the answers, for a data frame.

    Raises:
        TrainingDataError: A data frame has no such column.

    Example:
        >>> [row.large for row in decisions_in({"text": ["a", "b"], "answer": ["x", "y"]})]
        ['x', 'y']
    """
    if isinstance(source, ExperienceStore):
        return list(source.rows())
    if hasattr(source, "answers"):
        texts, answers, confidences = source.texts, source.answers, source.confidences
    elif hasattr(source, "columns") or isinstance(source, Mapping):
        for name in (text, answer):
            if name not in source:
                msg = f"Got no column {name!r} but expected the columns that text= and answer= name"
                raise TrainingDataError(msg)
        texts, answers = column_of(source[text], text), column_of(source[answer], answer)
        confidences = [None] * len(texts)
    else:
        return list(source)
    return [
        Experience(text=one, text_hash=hash_of_input(one), large=said, large_confidence=sure, time=0.0)
        for one, said, sure in zip(texts, map(as_cell, answers), confidences, strict=True)
        if isinstance(one, str) and not is_missing(one)
    ]


def _read(
    rows: Sequence[Experience], labels: Sequence[Label] | None, further: Sequence[Label]
) -> tuple[list[Experience], tuple[Label, ...]]:
    """The decisions with their answers as labels, and the labels. What is no label counts as no answer.

    Raises:
        TrainingDataError: No label has two answers.
    """
    if labels is None:
        counts = Counter(label_key(row.large) for row in rows if isinstance(row.large, (str, int)))
        known = [label for (_, label), n in counts.items() if n >= FEWEST_OF_LABEL]
        names: Sequence[Label] = each_once([*further, *known])
        said = {label_key(label) for label in names}
        read = [replace(row, large=row.large if label_key(row.large) in said else None) for row in rows]
    else:
        parser = LabelParser(labels=list(labels))
        names, read = parser.labels, [replace(row, large=_label_in(row.large, parser)) for row in rows]
    if not names:
        msg = f"Got {len(rows)} answers, none of them twice, but expected labels. Are they free text? Give labels=[...]"
        raise TrainingDataError(msg)
    return [row for row in read if row.text], tuple(names)


def _label_in(answer: Any, parser: LabelParser) -> Any:
    """The label that an answer is, None if it is none."""
    try:
        return None if answer is None else parser.invoke(answer)
    except OutputParserException:
        return None


def _agreeing(
    rows: Sequence[Experience],
    encoder: Encoder,
    *,
    min_gain: float,
    keep_examples: bool,
    seed: int,
    settings: dict[str, Any],
) -> Bundle:
    """A bundle that agrees with the large model. Nothing else is known."""
    last = {row.text_hash: row for row in rows if row.large is not None}
    texts, answers = [str(row.text) for row in last.values()], [row.large for row in last.values()]
    scorer = SmallModelScorer.fit(texts, answers, encoder=encoder, seed=seed)
    views, tuned = scorer.out_of_fold, None
    if views is not None:
        tuned = tune_threshold(views, answers, answers, texts=texts, out_of_fold=True, min_gain=min_gain, seed=seed)
        tuned = replace(tuned, against="large_answers")
    if keep_examples:
        vectors = scorer.example_vectors
        settings["examples"] = ExemplarSelector.fit(texts, answers, encoder=encoder, predictions=views, vectors=vectors)
    told = provenance(texts, answers, seed=seed, labelled_by="the large model")
    return Bundle(scorer=scorer, tuned=tuned, metadata=told, **settings)
