"""Strong labels are those that the small model handles by itself.

What it defers is unlikely to have one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    clean_answers,
    is_kept,
    read_predictions,
    same_label,
)


def strong_labels(
    predictions: Sequence[Prediction], labels: Sequence[Any], *, threshold: Any, min_share: float = 0.9
) -> tuple[Any, ...]:
    """The labels that need not be offered to the large model, because the small one keeps nearly all their inputs.

    Take the rows that truly have a label. The label is strong if at least `min_share` of them were kept, and kept with
    that label. If all labels are strong, the weakest one is left out. The share of a label with few rows says little,
    so remove such a label from the result.

    Args:
        predictions: The small model's prediction for each row, from a fit that had not seen it
            (`SmallModelScorer.out_of_fold`).
        labels: The true labels.
        threshold: The chain's threshold: a number, a dict by label, or None. With None nothing is kept and no label is
            strong.
        min_share: Share in (0, 1]. A lower share drops more labels.

    Returns:
        The strong labels in order of first appearance, for ``HintPromptBuilder(hints="hard", strong_labels=...)``.

    Raises:
        InvalidInputError: Lengths differ, or the share is out of range.

    Source: Data Shunt (AAAI 2024), S4L, hard prompt pruning: "remove the candidate classes that the small model
    performs well on". Its code names the first classes by hand. To count instead is our choice.

    Example:
        >>> sure, unsure = (Prediction(label="spam", confidence=value) for value in (0.95, 0.6))
        >>> strong_labels([sure, sure, unsure, sure], ["spam", "spam", "ham", "ham"], threshold=0.9)
        ('spam',)
    """
    predictions, truth = read_predictions(predictions), clean_answers(labels, "labels")
    if len(predictions) != len(truth):
        msg = f"Got {len(predictions)} predictions and {len(truth)} labels but expected one of each a row"
        raise InvalidInputError(msg)
    if not 0 < min_share <= 1:
        msg = f"Got min_share={min_share} but expected a share in (0, 1], such as 0.9"
        raise InvalidInputError(msg)
    rows = Counter(label for label in truth if label is not None)
    solved = Counter(
        label
        for prediction, label in zip(predictions, truth, strict=True)
        if same_label(prediction.label, label) and is_kept(prediction, threshold)
    )
    shares = {label: solved[label] / n for label, n in rows.items()}
    strong = [label for label, share in shares.items() if share >= min_share]
    if strong and len(strong) == len(rows):
        strong.remove(min(shares, key=shares.__getitem__))
    return tuple(strong)
