"""`Exemplar`: one solved example, and how several read in a prompt."""

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
        prediction: What the small model says of it, from a fit that had not seen it; None if it is not known.
    """

    input: str
    label: Label
    prediction: Prediction | None = None

    def __str__(self) -> str:
        """Input, prediction with confidence, label: SuperICL's order; the input is fenced."""
        told = [] if self.prediction is None else [f"Small model: {self.prediction}"]
        return "\n".join([fence(self.input, tag="example"), *told, f"Label: {self.label}"])


def exemplar_block(exemplars: Sequence[Exemplar], *, views: bool) -> str:
    """Solved examples as a block of a prompt, the likest last, next to the question; empty without any.

    Args:
        exemplars: Nearest first.
        views: Whether to tell what the small model says of them.
    """
    if not exemplars:
        return ""
    shown = [exemplar if views else replace(exemplar, prediction=None) for exemplar in reversed(exemplars)]
    return "\n\n".join(["Solved examples, the most similar one last:", *map(str, shown)])
