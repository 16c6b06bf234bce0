"""`Exemplar` is one solved example. This module also writes several of them into a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsplus_chains.schema import Label, Prediction, fence


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """One solved example.

    Args:
        input: The text.
        label: Its true label.
        prediction: The small model's prediction from a fit that had not seen the text. None if it is unknown.
    """

    input: str
    label: Label
    prediction: Prediction | None = None

    def __str__(self) -> str:
        """The fenced input, the prediction with its confidence, and the label, in SuperICL's order."""
        told = [] if self.prediction is None else [f"Small model: {self.prediction}"]
        return "\n".join([fence(self.input, tag="example"), *told, f"Label: {self.label!s}"])


def exemplar_block(exemplars: Sequence[Exemplar], *, views: bool) -> str:
    """Solved examples as a block of a prompt. It is empty without examples.

    The most similar example comes last, next to the question.

    Args:
        exemplars: The examples, nearest first.
        views: Whether to show the small model's predictions for them.
    """
    if not exemplars:
        return ""
    shown = [exemplar if views else replace(exemplar, prediction=None) for exemplar in reversed(exemplars)]
    return "\n\n".join(["Solved examples, the most similar one last:", *map(str, shown)])
