"""`EmbeddingClassifier`: an encoder and a torch head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dsplus_chains.encoding.base import Encoder
from dsplus_chains.schema import BundleError
from dsplus_chains.scoring.head import fit_head, probabilities

PROBE = "The quick brown fox jumps over the lazy dog."
"""A text whose vector tells whether an encoder is the one that a head was fitted on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingClassifier:
    """Class probabilities of texts: sentence embedding, then multinomial logistic regression in torch.

    Args:
        encoder: Turns texts into vectors.
        head: From vectors to logits.
    """

    kind: ClassVar[str] = "embedding"

    encoder: Encoder
    head: nn.Linear

    @classmethod
    def fit(
        cls, texts: Sequence[str], targets: NDArray[np.int64], n_classes: int, *, encoder: Encoder, c: float = 10.0
    ) -> Self:
        """Encode the texts once and fit the head on their vectors.

        Args:
            texts: The examples.
            targets: The class number of each.
            n_classes: How many classes there are.
            encoder: What turns texts into vectors; it is not changed.
            c: The inverse strength of the head's L2 penalty.
        """
        return cls(encoder=encoder, head=fit_head(encoder.encode(texts), targets, n_classes, c=c))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Class probabilities of shape [n texts, classes]."""
        return probabilities(self.head, self.encoder.encode(texts))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What has to be kept: settings as JSON values, and arrays."""
        arrays = {"weight": self.head.weight.numpy(), "bias": self.head.bias.numpy(), "probe": self._probe()}
        return {"encoder": self.encoder.name}, arrays

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: dict[str, NDArray[Any]], *, encoder: Encoder) -> Self:
        """The classifier back from its state.

        Raises:
            BundleError: The encoder is not the one that the head was fitted on.
        """
        weight, bias = (torch.from_numpy(arrays[name].copy()) for name in ("weight", "bias"))
        head = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype).requires_grad_(False).eval()
        head.load_state_dict({"weight": weight, "bias": bias})
        restored = cls(encoder=encoder, head=head)
        probe, expected = restored._probe(), arrays["probe"]
        if probe.shape != expected.shape or not np.allclose(probe, expected, atol=1e-3):
            msg = (
                f"Got the encoder {encoder.name!r}, which encodes otherwise than {settings['encoder']!r} did when the "
                "scorer was fitted. Load with that encoder, or fit anew"
            )
            raise BundleError(msg)
        return restored

    def _probe(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.encoder.encode([PROBE])[0])
