"""`MultiLabelScorer` is a small model for texts that have several labels, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray
from pydantic import InstanceOf
from typing_extensions import override

from dsplus_chains.calibration.calibration_maps import VectorCalibration, calibration_from_dict
from dsplus_chains.calibration.joint import JointConfidence
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.schema import BundleError, Prediction, TagsPrediction, TrainingDataError, each_once, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.ensemble import CalibrationName, EnsembleClassifier, ModelName
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.state import read_state, saved_encoder, write_state
from dsplus_chains.scoring.training_examples import check_examples


class MultiLabelScorer(BaseScorer):
    """Predicts which tags an input has. A whole batch is one encode, and one pass of a head for each tag.

    `shunt` takes it for the boolean fields of an app's output: ``fields=scorer.fields``. A field is called as its tag.

    Args:
        heads: The classifier of each tag, from texts to the probabilities of "no" and of "yes". They share an encoder.
        joint: How sure one may be of all tags at once. None if that is not known.
        input_key: The key of a dict under which the text is.

    Example:
        >>> texts = ["refund, now!", "a refund", "now!", "thanks"]  # doctest: +SKIP
        >>> tags = [["billing", "urgent"], ["billing"], ["urgent"], []]
        >>> scorer = MultiLabelScorer.fit(texts * 5, tags * 5)  # doctest: +SKIP
        >>> scorer.invoke("refund now")["prediction"].value  # doctest: +SKIP
        ['billing', 'urgent']
    """

    heads: dict[str, InstanceOf[EnsembleClassifier]]
    joint: InstanceOf[JointConfidence] | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        tags: Sequence[Collection[str]],
        *,
        encoder: str | Encoder | Embeddings = "auto",
        model: ModelName = "auto",
        calibration: CalibrationName = "temperature",
        seed: int = 0,
        device: str | None = None,
        input_key: str = "input",
    ) -> Self:
        """Fit one head for each tag on the same vectors.

        Args:
            texts: The examples.
            tags: The tags of each example, such as ``[["billing", "urgent"], []]``.
            encoder: See `SmallModelScorer.fit`, as the arguments below.
            model: The members of each head.
            calibration: Calibration of each head's confidence.
            seed: Seed of all random draws.
            device: Device of the encoder.
            input_key: The key of a dict under which the text will be.

        Raises:
            TrainingDataError: Lengths differ, or there is no tag. Or fewer than two examples have a tag, or lack it.
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
        rows, _, _ = check_examples(texts, next(iter(has.values())))
        batch = TextBatch(rows, as_encoder(encoder, device=device))
        heads = {
            tag: EnsembleClassifier.fit(
                rows,
                np.asarray(column, dtype=np.int64),
                2,
                encoder=batch.encoder,
                model=model,
                calibration=calibration,
                seed=seed,
                batch=batch,
            )
            for tag, column in has.items()
        }
        return cls(heads=heads, joint=_joint(heads, has), input_key=input_key)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags."""
        return tuple(self.heads)

    @property
    def fields(self) -> dict[str, Self]:
        """The scorer for each tag, as `shunt` takes it. It is asked once for all of them."""
        return dict.fromkeys(self.heads, self)

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
        yes = np.stack([head.predict_batch(batch)[0][:, 1] for head in self.heads.values()], axis=1)
        sure = np.full(len(texts), np.nan)
        sound = np.isfinite(yes).all(axis=1)
        if self.joint is not None and sound.any():
            sure[sound] = self.joint.apply(np.maximum(yes, 1 - yes)[sound].clip(0, 1))
        return [self._prediction(row, float(one)) for row, one in zip(yes, sure, strict=True)]

    def _prediction(self, row: NDArray[np.float64], sure: float) -> Prediction:
        if not np.isfinite(row).all():
            return Prediction(label=None)
        yes = dict(zip(self.heads, row.clip(0, 1).tolist(), strict=True))
        by_tag = {
            tag: Prediction(label=share >= 0.5, confidence=max(share, 1 - share), probabilities=_both(share))
            for tag, share in yes.items()
        }
        value = [tag for tag, share in yes.items() if share >= 0.5]
        return TagsPrediction.model_validate(
            {"value": value, "confidence": sure, "probabilities": yes, "by_tag": by_tag}
        )

    def save(self, path: str | Path) -> None:
        """Write the scorer into a folder, as `SmallModelScorer.save` does."""
        states = [head.state() for head in self.heads.values()]
        arrays = {f"{number}:{name}": table for number, (_, own) in enumerate(states) for name, table in own.items()}
        settings = {
            "tags": list(self.heads),
            "input_key": self.input_key,
            "joint": None if self.joint is None else self.joint.to_dict(),
            "heads": [told for told, _ in states],
        }
        write_state(Path(path), settings, arrays)

    @classmethod
    def load(
        cls, path: str | Path, *, encoder: str | Encoder | Embeddings | None = None, device: str | None = None
    ) -> Self:
        """Read a scorer that `save` wrote.

        Args:
            path: The folder.
            encoder: The encoder or its new place, if that has changed since the scorer was fitted.
            device: Device of the encoder. None takes the best one available.

        Raises:
            BundleError: The folder holds no such scorer, is damaged, or the encoder is another one.
        """
        state, arrays = read_state(Path(path))
        if "tags" not in state:
            msg = f"Got {str(path)!r}, which holds a scorer of single labels; load it with SmallModelScorer"
            raise BundleError(msg)
        found = saved_encoder(state["heads"][0], encoder=encoder, device=device)
        heads = {}
        for number, (tag, told) in enumerate(zip(state["tags"], state["heads"], strict=True)):
            prefix = f"{number}:"
            own = {name.removeprefix(prefix): table for name, table in arrays.items() if name.startswith(prefix)}
            heads[tag] = EnsembleClassifier.from_state(told, own, encoder=found)
        curve = None if state["joint"] is None else calibration_from_dict(state["joint"])
        joint = JointConfidence(curve=curve) if isinstance(curve, VectorCalibration) else None
        return cls(heads=heads, joint=joint, input_key=state["input_key"])


def _tags(row: int, given: Any) -> frozenset[str]:
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
    return frozenset(given)


def _both(yes: float) -> dict[bool, float]:
    return {True: yes, False: 1 - yes}


def _joint(heads: Mapping[str, EnsembleClassifier], has: Mapping[str, list[bool]]) -> JointConfidence | None:
    """How sure one may be of all tags, from what the heads say of examples that they had not seen."""
    logs = [head.out_of_fold for head in heads.values()]
    known = [np.exp(table) for table in logs if table is not None]
    if len(known) < len(logs) or not all(np.isfinite(table).all() for table in known):
        return None
    right = [table.argmax(axis=1) == np.asarray(column) for table, column in zip(known, has.values(), strict=True)]
    sure = np.stack([table.max(axis=1).clip(0, 1) for table in known], axis=1)
    return JointConfidence.fit(sure, np.all(right, axis=0))
