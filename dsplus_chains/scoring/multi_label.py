"""`MultiLabelScorer` is a small model for texts that have several labels, or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.calibration.joint import JointConfidence
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import Prediction, TagsPrediction, Training, TrainingDataError, each_once, what_came
from dsplus_chains.scoring.ensemble import CalibrationName, EnsembleClassifier, ModelName
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.members.member import Arrays, TextBatch
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.scoring.restoring import restore_classifier
from dsplus_chains.scoring.state import StoredTags, share_equal
from dsplus_chains.scoring.state_scorer import StateScorer
from dsplus_chains.scoring.stored_encoder import StoredEncoder
from dsplus_chains.scoring.training_examples import check_examples
from dsplus_chains.scoring.training_rows import Copies


class MultiLabelScorer(StateScorer):
    """Predicts which tags an input has. A whole batch is one encode, and one pass of a head for each tag.

    `shunt` takes it for the boolean fields of an app's output: ``fields=scorer.fields``. A field is called as its tag.

    Args:
        heads: The classifier of each tag, from texts to the probabilities of "no" and of "yes". They share an encoder.
        joint: How sure one may be of all tags at once. None if that is not known.
        training_rows: What it was fitted on. Predictions for these texts are marked (`Prediction.training`).
        input_key: The key of a dict under which the text is.

    Example:
        >>> texts = ["refund, now!", "a refund", "now!", "thanks"]  # doctest: +SKIP
        >>> tags = [["billing", "urgent"], ["billing"], ["urgent"], []]
        >>> scorer = MultiLabelScorer.fit(texts * 5, tags * 5)  # doctest: +SKIP
        >>> scorer.invoke("refund now")["prediction"].value  # doctest: +SKIP
        ['billing', 'urgent']
    """

    predicts: ClassVar[str] = "tags"
    stored: ClassVar[type[StoredTags]] = StoredTags

    heads: dict[str, InstanceOf[EnsembleClassifier]]
    joint: InstanceOf[JointConfidence] | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[Any],
        tags: Sequence[Collection[str]],
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
    ) -> Self:
        """Fit one classifier for each tag on the same vectors.

        Args:
            texts: The examples: texts, pairs of texts, or images.
            tags: The tags of each example, such as ``[["billing", "urgent"], []]``.
            modality: What the examples are, "text" or "image".
            encoder: See `SmallModelScorer.fit`, as the arguments below.
            model: The members of each tag's classifier.
            head: The network among them.
            copies: Number of such networks.
            calibration: Calibration of each one's confidence.
            seed: Seed of all random draws.
            device: Device of the encoder.
            input_key: The key of a dict under which the text will be, or the two keys of a pair.

        Raises:
            TrainingDataError: Lengths differ, or there is no tag. Or fewer than two examples have a tag, or lack it. Or
                the members have no such network.
        """
        sets = [_tags(row, given) for row, given in enumerate(tags)]
        names = each_once(tag for given in sets for tag in given)
        if not names:
            msg = "Got examples without any tag but expected lists of tags, such as [['billing', 'urgent'], []]"
            raise TrainingDataError(msg)
        has = {tag: [tag in given for given in sets] for tag in names}
        for tag, column in has.items():
            if min(sum(column), len(column) - sum(column)) < 2:
                n, of = sum(column), len(column)
                msg = f"Got {n} of {of} examples with the tag {tag!r} but expected two with it, and two without"
                raise TrainingDataError(msg)
        rows, _, _ = check_examples(texts, next(iter(has.values())), modality=modality)
        alike = Copies.find(rows, [tuple(sorted(given)) for given in sets])
        batch = TextBatch.reading(rows, as_encoder(encoder, device=device, modality=modality, fast=model == "fast"))
        heads = {
            tag: EnsembleClassifier.fit(
                rows,
                np.asarray(column, dtype=np.int64),
                2,
                encoder=batch.encoder,
                model=model,
                head=head,
                copies=copies,
                calibration=calibration,
                seed=seed,
                copy_of=alike.copy_of,
                batch=batch,
            )
            for tag, column in has.items()
        }
        joint = _joint(heads, has, np.unique(alike.copy_of))
        return cls(heads=heads, joint=joint, training_rows=alike.rows, modality=modality, input_key=input_key)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags."""
        return tuple(self.heads)

    @property
    def fields(self) -> dict[str, Self]:
        """The scorer for each tag, as `shunt` takes it. It is asked once for all of them."""
        return dict.fromkeys(self.heads, self)

    @property
    @override
    def pairs(self) -> bool:
        """Whether it was fitted on pairs of texts."""
        return next(iter(self.heads.values())).pairs

    @property
    def encoder(self) -> Encoder:
        """The encoder of the texts."""
        return next(iter(self.heads.values())).encoder

    @override
    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "tags": ", ".join(self.heads), "encoder": self.encoder.name}

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        batch = TextBatch(texts, self.encoder)
        yes = np.stack([head.predict_batch(batch).probabilities[:, 1] for head in self.heads.values()], axis=1)
        sure = np.full(len(texts), np.nan)
        sound = np.isfinite(yes).all(axis=1)
        if self.joint is not None and sound.any():
            sure[sound] = self.joint.apply(np.maximum(yes, 1 - yes)[sound].clip(0, 1))
        seen = [False] * len(texts) if self.training_rows is None else self.training_rows.texts.has(texts)
        return [self._prediction(row, float(one), old) for row, one, old in zip(yes, sure, seen, strict=True)]

    def _prediction(self, row: NDArray[np.float64], sure: float, seen: bool) -> Prediction:
        training: Training | None = "seen" if seen else None
        if not np.isfinite(row).all():
            return Prediction(label=None, training=training)
        yes = dict(zip(self.heads, row.clip(0, 1).tolist(), strict=True))
        by_tag = {
            tag: Prediction(
                label=share >= 0.5,
                confidence=max(share, 1 - share),
                probabilities={True: share, False: 1 - share},
                training=training,
            )
            for tag, share in yes.items()
        }
        value = [tag for tag, share in yes.items() if share >= 0.5]
        return TagsPrediction.model_validate(
            {"value": value, "confidence": sure, "probabilities": yes, "by_tag": by_tag, "training": training}
        )

    @override
    def _state(self) -> tuple[dict[str, Any], Arrays]:
        heads, tables = [], dict[str, Any]()
        for number, head in enumerate(self.heads.values()):
            settings, own = head.state()
            heads.append(settings)
            tables.update({f"{number}/{name}": table for name, table in own.items()})
        arrays, same = share_equal(tables)  # the heads look for neighbours among the same vectors
        rows, hashes = self._rows_state()
        told = {
            "predicts": self.predicts,
            "tags": list(self.heads),
            "input_key": self.input_key,
            "joint": None if self.joint is None else self.joint.to_dict(),
            "training_rows": rows,
            "heads": heads,
            "same": same,
        }
        return told, {**arrays, **hashes}

    @classmethod
    @override
    def _stored_encoder(cls, told: StoredTags) -> StoredEncoder:
        return told.heads[0]

    @classmethod
    @override
    def _restored(cls, told: StoredTags, arrays: Arrays, find_encoder: Callable[[], Encoder]) -> dict[str, Any]:
        joint = None if told.joint is None else JointConfidence.from_dict(told.joint)
        known = {**arrays, **{name: arrays[equal] for name, equal in told.same.items()}}
        heads = {}
        for number, (tag, settings) in enumerate(zip(told.tags, told.heads, strict=True)):
            own = {
                name.removeprefix(f"{number}/"): table for name, table in known.items() if name.startswith(f"{number}/")
            }
            heads[tag] = restore_classifier(settings, own, find_encoder, n_classes=2)
        return {"heads": heads, "joint": joint, "modality": told.heads[0].modality}


def _tags(row: int, given: Any) -> tuple[str, ...]:
    """The tags of one example.

    Raises:
        TrainingDataError: They are none.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Collection):
        msg = f"Got tags[{row}]={what_came(given)} but expected a list of tags"
        raise TrainingDataError(msg)
    if wrong := [tag for tag in given if not isinstance(tag, str) or not tag.strip()]:
        msg = f"Got tags[{row}] with {wrong[0]!r} but expected texts that are not empty"
        raise TrainingDataError(msg)
    return tuple(dict.fromkeys(given))


def _joint(
    heads: Mapping[str, EnsembleClassifier], has: Mapping[str, list[bool]], rows: NDArray[np.int64]
) -> JointConfidence | None:
    """How sure one may be of all tags, from what the heads say of examples that they had not seen.

    Each text counts once, so `rows` has one of its copies.
    """
    logs = [head.out_of_fold for head in heads.values()]
    known = [np.exp(table[rows]) for table in logs if table is not None]
    if len(known) < len(logs) or not all(np.isfinite(table).all() for table in known):
        return None
    right = [
        table.argmax(axis=1) == np.asarray(column)[rows] for table, column in zip(known, has.values(), strict=True)
    ]
    sure = np.stack([table.max(axis=1).clip(0, 1) for table in known], axis=1)
    return JointConfidence.fit(sure, np.all(right, axis=0))
