"""`LinearMember` is a multinomial logistic regression on sentence vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from dsplus_chains.schema import BundleError, Stored, brief_repr
from dsplus_chains.scoring.members.head import Targets, fit_head, logits, stored_head
from dsplus_chains.scoring.members.member import Arrays, TextBatch, log_softmax
from dsplus_chains.scoring.members.stored_arrays import StoredArrays


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMember:
    """A linear head on sentence vectors, or on one of several vectors that stand side by side.

    Args:
        head: Layer from vectors to logits.
        start: The first column that it sees.
    """

    kind: ClassVar[str] = "linear"

    head: nn.Linear
    start: int = 0

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.float32],
        targets: Targets,
        n_classes: int,
        *,
        c: float = 0.1,
        start: int = 0,
        near: LinearMember | None = None,
    ) -> Self:
        """Fit on vectors that are first centred and brought to unit scale. The head then takes over both steps.

        Args:
            vectors: The columns that it is to see, of shape [n, dimensions].
            targets: The class number of each row, or its distribution.
            n_classes: Number of classes.
            c: The inverse strength of the L2 penalty, on the scaled vectors.
            start: Start of these columns in the vectors that it will get.
            near: A member that was fitted on many of the same rows, from which the search begins.
        """
        center = vectors.mean(axis=0)
        scale = float((vectors - center).std()) or 1.0
        begin = None if near is None else _moved(near.head, -center / scale, 1 / scale)
        head = fit_head((vectors - center) / scale, targets, n_classes, c=c, start=begin)
        return cls(head=_moved(head, center, scale), start=start)

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""
        seen = batch.vectors[:, self.start : self.start + self.head.in_features]
        return log_softmax(logits(self.head, seen))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        return {"start": self.start}, {"weight": self.head.weight.numpy(), "bias": self.head.bias.numpy()}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        start = _Settings.model_validate(settings).start
        weight = arrays.floats("weight", (arrays.n_classes, None))
        bias = arrays.floats("bias", (arrays.n_classes,))
        if start + weight.shape[1] > arrays.width:
            msg = (
                f"Got a head on the columns from {start} to {start + weight.shape[1]} but the encoder has "
                f"{arrays.width}; the scorer is damaged, fit it anew"
            )
            raise BundleError(msg)
        return cls(head=stored_head(weight, bias), start=start)


def _moved(head: nn.Linear, center: NDArray[np.float32], scale: float) -> nn.Linear:
    """The head that says of x what this one says of (x - center) / scale."""
    weight = head.weight.numpy() / scale
    return stored_head(weight, head.bias.numpy() - weight @ center)


class _Settings(Stored):
    start: int = Field(default=0, ge=0)
