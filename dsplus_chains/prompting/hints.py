"""The small model's view in words.

Soft hints show its probabilities. Hard hints offer fewer labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from dsplus_chains.calibration.conformal import in_set
from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.schema import Prediction, labels_outside, percent

HintMode: TypeAlias = Literal["none", "soft", "hard"]
"""What the large model is told of the small one's view."""

NONE_OF_THESE = "none of these"
"""What the large model may answer if label pruning dropped the right label."""


def ranked_labels(prediction: Prediction, labels: Sequence[Any]) -> list[tuple[Any, float | None]]:
    """The labels that the small model names, most likely first, with their probabilities.

    Ties keep the order of `labels`. A prediction without probabilities names only its label. Without a label it names
    none.

    Example:
        >>> prediction = Prediction(label="b", confidence=0.7, probabilities={"a": 0.1, "b": 0.7, "c": 0.2})
        >>> ranked_labels(prediction, ["a", "b", "c"])
        [('b', 0.7), ('c', 0.2), ('a', 0.1)]
    """
    if prediction.probabilities is not None:
        known = [(label, prediction.probabilities[label]) for label in labels if label in prediction.probabilities]
        return sorted(known, key=lambda pair: -pair[1])
    return [(label, prediction.confidence) for label in labels if label == prediction.label]


def soft_hint(
    prediction: Prediction, labels: Sequence[Any], *, top_k: int, track_record: TrackRecord | None = None
) -> str:
    """The small model's view as a prior for the large one, with at most `top_k` labels, most likely first.

    Labels of probability 0 are left out. The hint is empty if the small model has no view. The wording is ours, because
    the paper prints only its image prompt.

    Args:
        prediction: The small model's prediction.
        labels: All labels.
        top_k: Largest number of labels to name.
        track_record: How often the small model was right at about this confidence. The hint shows it.

    Source: Data Shunt (AAAI 2024), S4L, soft prompt pruning. There the label probabilities enter the prompt.

    Example:
        >>> print(soft_hint(Prediction(label="spam", confidence=0.6), ["spam", "ham"], top_k=5))
        A small model trained for this task read the input and estimates:
        - spam: 60 %
        It was not sure enough to answer alone. Weigh its estimate, but decide yourself.
    """
    ranked = [pair for pair in ranked_labels(prediction, labels)[:top_k] if pair[1] != 0]
    if not ranked:
        return ""
    share = None if track_record is None else track_record.at(prediction.confidence)
    worth = (
        "It was not sure enough to answer alone."
        if share is None
        else f"When it is this sure, it is right {percent(share)} of the time."
    )
    return "\n".join(
        [
            "A small model trained for this task read the input and estimates:",
            *(f"- {label!s}: {percent(probability)}" for label, probability in ranked),
            f"{worth} Weigh its estimate, but decide yourself.",
        ]
    )


def offered_labels(
    prediction: Prediction,
    labels: Sequence[Any],
    *,
    top_k: int,
    set_level: float | None = None,
    strong: Sequence[Any] | None = None,
) -> list[Any]:
    """The labels that label pruning leaves.

    They are a conformal set, the `top_k` most likely labels, or all but the strong ones. If the prediction decides, the
    most likely label comes first. If there is nothing to prune, or nothing to prune by, all labels stay in their own
    order.

    Args:
        prediction: The small model's prediction.
        labels: All labels.
        top_k: Number of labels to leave, if nothing else is given. Labels that the small model does not name come last.
        set_level: The most likely labels are taken, as long as their probabilities sum to at most this level. See
            `conformal_level`.
        strong: Labels that are never offered, whatever the prediction is. All others are offered. See `strong_labels`.

    Source: Data Shunt (AAAI 2024), S4L, hard prompt pruning, which drops the strong labels. Pruning for each input, by
    the small model's probabilities, is ours.

    Example:
        >>> prediction = Prediction(label="b", confidence=0.7, probabilities={"a": 0.1, "b": 0.7, "c": 0.2})
        >>> offered_labels(prediction, ["a", "b", "c"], top_k=2)
        ['b', 'c']
    """
    if strong is not None:
        return [label for label in labels if label not in strong]
    if prediction.probabilities is None or (set_level is None and len(labels) <= top_k):
        return list(labels)
    ranked = ranked_labels(prediction, labels)
    if set_level is None:
        spoken = [label for label, _ in ranked]
        return [*spoken, *labels_outside(labels, spoken)][:top_k] if spoken else list(labels)
    if set_level >= 1 or len(ranked) < len(labels):
        return list(labels)  # a label that the small model does not name must not be lost
    (held,) = in_set([[probability or 0.0 for _, probability in ranked]], set_level).tolist()
    offered = [label for (label, _), is_held in zip(ranked, held, strict=True) if is_held]
    return offered if len(offered) < len(labels) else list(labels)


def label_list(labels: Sequence[Any], descriptions: Mapping[Any, str] | None, *, escape: bool = False) -> str:
    """The labels, one in each line, with their descriptions.

    With `escape` the list ends with "none of these".

    Example:
        >>> print(label_list(["spam", "ham"], {"spam": "unwanted"}, escape=True))
        - spam: unwanted
        - ham
        - none of these
    """
    described = descriptions or {}
    lines = [f"- {label!s}: {described[label]}" if label in described else f"- {label!s}" for label in labels]
    return "\n".join([*lines, f"- {NONE_OF_THESE}"] if escape else lines)
