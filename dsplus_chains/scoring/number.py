"""`NumberScorer` is a small model that answers with a number, and says how likely it is right within a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import Field, InstanceOf, TypeAdapter
from sklearn.model_selection import GroupKFold, cross_val_predict
from typing_extensions import TypedDict, override

from dsplus_chains.calibration.joint import JointConfidence
from dsplus_chains.calibration.tolerance import ErrorSpread
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.encoding.pair import PairEncoder
from dsplus_chains.schema import InvalidInputError, Prediction, TrainingDataError, is_missing, shown
from dsplus_chains.scoring.members.member import Arrays, TextBatch
from dsplus_chains.scoring.members.stored_arrays import StoredArrays
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.scoring.saved_place import SavedPlace
from dsplus_chains.scoring.scaled_linear import ScaledLinear, unfitted_linear
from dsplus_chains.scoring.state import StoredNumber
from dsplus_chains.scoring.state_scorer import StateScorer
from dsplus_chains.scoring.stored_encoder import StoredEncoder, check_probe, encoder_state, probe_vector
from dsplus_chains.scoring.training_examples import read_examples
from dsplus_chains.scoring.training_rows import Copies

ENOUGH = 50
"""Smallest number of different examples. With fewer, nothing can be said of the errors."""
FOLDS = 5


class Bounds(TypedDict):
    """Which numbers there may be."""

    whole: bool
    low: float
    high: float


class NumberScorer(StateScorer):
    """Predicts a number for each input, such as stars or a price. A whole batch is one encode and two linear models.

    The `value` of its prediction is the number. The confidence is the probability that the number is right within
    `tolerance`. It comes from errors on training examples that the model had not seen. It is lower where an input is
    difficult, since a second model has learned how large the errors are.

    If all training values are whole, so are the answers. No answer lies outside the range of the training values.

    `shunt` takes it for a field that is a number: ``fields={"stars": scorer}``. A field of whole numbers gets such, and
    the bounds of the field hold.

    Args:
        encoder: Encoder of the texts.
        regressor: Model from vectors to numbers.
        difficulty: Model from vectors to the logarithm of the error to expect.
        spread: How the errors are spread, in terms of the difficulty.
        curve: What the confidence by this spread is worth, on examples that the models had not seen.
        tolerance: Largest error that counts as right.
        bounds: What `bounded` was given, beyond what was known at fitting. The spread has them already.
        training_rows: What it was fitted on. Predictions for these texts are marked (`Prediction.training`).
        input_key: The key of a dict under which the text is.

    Example:
        >>> scorer = NumberScorer.fit(reviews, stars, tolerance=1)  # doctest: +SKIP
        >>> prediction = scorer.invoke("I love it")["prediction"]  # doctest: +SKIP
        >>> prediction.value, prediction.confidence  # doctest: +SKIP
        (5, 0.91)
    """

    predicts: ClassVar[str] = "number"
    stored: ClassVar[type[StoredNumber]] = StoredNumber
    beside_the_folder: ClassVar[frozenset[str]] = StateScorer.beside_the_folder | {"bounds"}

    encoder: InstanceOf[Encoder]
    regressor: InstanceOf[ScaledLinear]
    difficulty: InstanceOf[ScaledLinear]
    spread: InstanceOf[ErrorSpread]
    curve: InstanceOf[JointConfidence]
    tolerance: float = Field(ge=0)
    bounds: Bounds | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[Any],
        values: Sequence[float],
        *,
        tolerance: float,
        modality: Modality = "text",
        encoder: str | Encoder | Embeddings = "auto",
        device: str | None = None,
        input_key: InputKey = "input",
    ) -> Self:
        """Fit the two models, and find out how large the errors are on rows that they have not seen.

        Copies of a text are held out together, and each text counts once for the confidence.

        Args:
            texts: The examples: texts, pairs of texts, or images. See `SmallModelScorer.fit`.
            values: As many numbers.
            tolerance: Largest error that counts as right, in the unit of the values. 0 asks for the exact number.
            modality: What the examples are, "text" or "image".
            encoder: See `SmallModelScorer.fit`, as the arguments below.
            device: Device of the encoder.
            input_key: The key of a dict under which the text will be.

        Raises:
            TrainingDataError: Lengths differ, something is no text or number, or there are too few examples.
        """
        rows, truths = _checked(texts, values, modality)
        copies = Copies.find(rows, truths.tolist())
        judged = np.unique(copies.copy_of)
        if len(judged) < ENOUGH:
            msg = f"Got {len(judged)} different examples but expected {ENOUGH} or more, to tell how large errors are"
            raise TrainingDataError(msg)
        batch = TextBatch.reading(rows, as_encoder(encoder, device=device, modality=modality))
        vectors = batch.vectors.astype(np.float64)
        folds = {"cv": GroupKFold(FOLDS), "groups": copies.copy_of}
        said = cross_val_predict(unfitted_linear(), vectors, truths, **folds)
        errors = np.log(np.abs(truths - said) + 0.1 * max(float(truths.std()), 1e-9))
        difficulties = np.exp(cross_val_predict(unfitted_linear(), vectors, errors, **folds))
        known, held, difficult = truths[judged], said[judged], difficulties[judged]
        spread = ErrorSpread.fit(known, held, difficult).bounded(
            whole=bool((truths == np.rint(truths)).all()), low=float(truths.min()), high=float(truths.max())
        )
        answers, raw = spread.apply(held, difficult, tolerance=tolerance)
        return cls(
            encoder=batch.encoder,
            regressor=ScaledLinear.fit(vectors, truths),
            difficulty=ScaledLinear.fit(vectors, errors),
            spread=spread,
            curve=JointConfidence.fit(raw[:, None], np.abs(known - answers) <= tolerance),
            tolerance=tolerance,
            training_rows=copies.rows,
            modality=modality,
            input_key=input_key,
        )

    @property
    @override
    def pairs(self) -> bool:
        """Whether it was fitted on pairs of texts."""
        return isinstance(self.encoder, PairEncoder)

    def bounded(self, *, whole: bool, low: float, high: float) -> Self:
        """The same model for numbers that are whole or bounded. The confidence is that of the numbers it then gives.

        Raises:
            InvalidInputError: No number is left that it could give.
        """
        spread = self.spread.bounded(whole=whole, low=low, high=high)
        first, last = (np.ceil(spread.low), np.floor(spread.high)) if spread.whole else (spread.low, spread.high)
        if first > last:
            got = f"{self.spread.low:g} to {self.spread.high:g}"
            msg = f"Got a small model of numbers from {got} but expected some from {low:g} to {high:g}"
            raise InvalidInputError(msg)
        bounds = Bounds(whole=spread.whole, low=float(spread.low), high=float(spread.high))
        return self.model_copy(update={"spread": spread, "bounds": bounds})

    @override
    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "tolerance": self.tolerance, "encoder": self.encoder.name}

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        vectors = self.encoder.encode(texts).astype(np.float64)
        said, difficult = self.regressor.predict(vectors), np.exp(self.difficulty.predict(vectors))
        values, raw = self.spread.apply(said, difficult, tolerance=self.tolerance)
        sure = self.curve.apply(raw[:, None])
        seen = [False] * len(texts) if self.training_rows is None else self.training_rows.texts.has(texts)
        return [
            Prediction.model_validate(
                {
                    "value": int(value) if self.spread.whole else value,
                    "confidence": confidence,
                    "training": "seen" if old else None,
                }
            )
            for value, confidence, old in zip(values.tolist(), sure.tolist(), seen, strict=True)
        ]

    @override
    def _state(self) -> tuple[dict[str, Any], Arrays]:
        rows, hashes = self._rows_state()
        told = {
            "predicts": self.predicts,
            "input_key": self.input_key,
            "training_rows": rows,
            **encoder_state(self.encoder),
            "tolerance": self.tolerance,
            "whole": self.spread.whole,
            "low": self.spread.low,
            "high": self.spread.high,
            "curve": self.curve.to_dict(),
        }
        models = {"regressor": self.regressor, "difficulty": self.difficulty}
        tables = {f"{name}.{part}": table for name, model in models.items() for part, table in model.state().items()}
        return told, {"probe": probe_vector(self.encoder), "residuals": self.spread.residuals, **tables, **hashes}

    @classmethod
    @override
    def _stored_encoder(cls, told: StoredNumber) -> StoredEncoder:
        return told

    @classmethod
    @override
    def _restored(cls, told: StoredNumber, arrays: Arrays, find_encoder: Callable[[], Encoder]) -> dict[str, Any]:
        stored = StoredArrays(arrays=arrays, n_classes=1, width=len(arrays.get("probe", ())))
        probe, residuals = stored.floats("probe", (None,)), stored.floats("residuals", (None,))
        if told.low > told.high or (np.diff(residuals) < 0).any():
            msg = "Got a range without numbers, or residuals that fall"
            raise ValueError(msg)
        models = {name: ScaledLinear.from_state(stored.part(f"{name}.")) for name in ("regressor", "difficulty")}
        curve = JointConfidence.from_dict(told.curve)
        encoder = find_encoder()
        check_probe(encoder, probe, told=told)
        spread = ErrorSpread(residuals=residuals, whole=told.whole, low=told.low, high=told.high)
        parts = {"spread": spread, "curve": curve, "tolerance": told.tolerance, "modality": modality_of(encoder)}
        return {"encoder": encoder, **models, **parts}

    @classmethod
    @override
    def _made_again(cls, place: SavedPlace, given: Mapping[str, Any]) -> dict[str, Any]:
        made = super()._made_again(place, given)
        if made.get("bounds") is None:
            return made
        return {**made, "spread": made["spread"].bounded(**TypeAdapter(Bounds).validate_python(made["bounds"]))}


def _checked(texts: Any, values: Any, modality: Modality) -> tuple[list[str], NDArray[np.float64]]:
    """The examples and the numbers.

    Raises:
        TrainingDataError: Lengths differ, or something is no text or number.
    """
    rows, told = read_examples(texts, values, "values", modality=modality)
    for row, value in enumerate(told):
        is_number = not is_missing(value) and not isinstance(value, (str, bytes, bool, np.bool_))
        if not is_number or not np.isfinite(float(value)):
            msg = f"Got values[{row}]={shown(value)} but expected a finite number; drop or mend such rows"
            raise TrainingDataError(msg)
    return rows, np.asarray([float(value) for value in told])
