"""`Experience`: one decision of a chain, as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsplus_chains.schema import InvalidInputError, Label, Prediction, as_pair, brief_repr, text_hash, what_came

LABELLED_BY_DOUBT = "label"
"""Origin of true labels that were asked for because the models were not sure."""
CHOSEN_BY_ERRORS = (LABELLED_BY_DOUBT, "correction")
"""Origins of true labels that are there because somebody doubted the answer. They say nothing of the other inputs."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class Experience:
    """One decision, with what is known of the truth.

    Args:
        text: The input. None if it was no text, or is not kept.
        text_hash: Hash of the input in hexadecimal, which copies of a text share. It is there without the text, too.
        prediction: The small model's prediction. None if it said nothing.
        large: The large model's label. None if it was not asked, failed, or gave no label.
        large_confidence: The large model's own confidence, where its provider reports it.
        rationale: The reason that it gave beside its label, if it was asked for one. It is kept only with the text.
        fused: The probability of each label given both answers, where a fusion weighed them.
        answer: The label of the final answer. None if the answer is no label.
        source: Who gave the answer, as in the record of a chain. None for a row that only brings a gold label.
        tokens: The large model's tokens. 0 if it was not asked, and None if its provider does not report them.
        time: When it was decided, in seconds since 1970.
        model_hash: Hash of the small model; see `SmallModelScorer.model_hash`.
        task_hash: Hash of the task; see `LabelTask.task_hash`.
        gold: The true label, where somebody has given it.
        gold_origin: Where it comes from, such as "gold", "correction", "label" or "audit".
    """

    text: str | None
    text_hash: str
    prediction: Prediction | None = None
    large: Any = None
    large_confidence: float | None = None
    rationale: str | None = None
    fused: Mapping[Any, float] | None = None
    answer: Any = None
    source: str | None = None
    tokens: int | None = None
    time: float
    model_hash: str | None = None
    task_hash: str | None = None
    gold: Label | None = None
    gold_origin: str | None = None


def read_text(value: Any) -> str:
    """A text, or a pair of texts, as a decision on it holds it.

    Raises:
        InvalidInputError: It is none.

    Example:
        >>> read_text("Broke at once."), read_text(("Broke?", "At once.")) == as_pair(("Broke?", "At once."))
        ('Broke at once.', True)
    """
    found = as_pair(value) or value
    if isinstance(found, str):
        return found
    msg = f"Got {what_came(value)} for a text but expected the text as the small model has read it, or a pair of two"
    raise InvalidInputError(msg)


def hash_of_input(value: Any) -> str:
    """The hash of an input, as an `Experience` holds it.

    Example:
        >>> hash_of_input("Broke at once.") == hash_of_input("broke AT once")
        True
    """
    return f"{text_hash(value):016x}"
