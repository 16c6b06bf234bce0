"""A chat model's confidence as a prediction, from its log-probabilities or from the agreement of its samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsplus_chains.running.logprobs import told_confidence
from dsplus_chains.schema import Prediction, same_label


def from_logprobs(message: Any, answer: Any, *, labels: Sequence[Any] | None = None) -> Prediction:
    """A prediction whose confidence is the probability of the whole answer, as its message reports it.

    Args:
        message: The chat model's message, with log-probabilities that `told_confidence` reads, or with
            `choice_logprobs`.
        answer: The answer read from it. None if there was nothing to read.
        labels: The labels, if they are known.

    Example:
        >>> from langchain_core.messages import AIMessage
        >>> tokens = [{"token": "neg", "logprob": -0.1}, {"token": "ative", "logprob": 0.0}]
        >>> message = AIMessage("negative", response_metadata={"logprobs": {"content": tokens}})
        >>> str(from_logprobs(message, "negative"))
        'negative (90 %)'
    """
    if answer is None:
        return Prediction(label=None)
    told = getattr(message, "response_metadata", None) or {}
    choices = told.get("choice_logprobs")
    if isinstance(choices, Mapping):
        names = tuple(choices) if labels is None else tuple(labels)
        whole = {str(name) for name in names} == set(choices) and not any(map(math.isnan, choices.values()))
        if answer in names and whole:
            table = {name: math.exp(choices[str(name)]) for name in names}
            return Prediction(label=answer, confidence=table[answer], probabilities=table)
    return Prediction(label=answer, confidence=told_confidence(message))


def from_votes(
    answers: Sequence[Any], *, same: Callable[[Any, Any], bool], labels: Sequence[Any] | None = None
) -> Prediction:
    """A prediction whose confidence is the share of answers that agree on it. None agrees with nothing.

    The probabilities are the shares, for all labels if these are known. The share of None is missing from their sum.

    Args:
        answers: One answer for each sample, in order.
        same: Function that tells whether two answers agree.
        labels: The labels, if they are known.

    Example:
        >>> prediction = from_votes(["spam", "ham", None, "spam"], same=lambda a, b: a == b)
        >>> prediction.label, prediction.confidence, dict(prediction.probabilities)
        ('spam', 0.5, {'spam': 0.5, 'ham': 0.25})
    """
    groups: list[list[Any]] = []
    for answer in answers:
        if answer is not None:
            group = next((group for group in groups if same(group[0], answer)), None)
            if group is None:
                groups.append([answer])
            else:
                group.append(answer)
    if not groups:
        return Prediction(label=None)
    most = max(groups, key=len)  # in a tie, the first one
    shares = dict.fromkeys(labels or (), 0.0) | {group[0]: len(group) / len(answers) for group in groups}
    return Prediction(label=most[0], confidence=len(most) / len(answers), probabilities=shares)


def is_same_text(one: Any, other: Any) -> bool:
    """Whether two answers say the same, without regard to case and white space."""
    if isinstance(one, str) and isinstance(other, str):
        return " ".join(one.casefold().split()) == " ".join(other.casefold().split())
    return same_label(one, other)
