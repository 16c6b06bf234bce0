"""`EnsembleClassifier` mixes several members, weighed by their worth out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.calibration.calibration_maps import Calibration
from dsplus_chains.calibration.calibrators import fit_isotonic, fit_vector_scaling
from dsplus_chains.encoding.encoder import Encoder, check_finite
from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.encoding.pair import PairEncoder
from dsplus_chains.schema import TrainingDataError, brief_repr, check_choice
from dsplus_chains.scoring.early_exit import EarlyExit
from dsplus_chains.scoring.member_report import MemberReport
from dsplus_chains.scoring.members.fitting import fit_member, views_of
from dsplus_chains.scoring.members.heads import HEADS, HeadName, with_head
from dsplus_chains.scoring.members.lessons import Lessons
from dsplus_chains.scoring.members.lexical import LexicalFeatures, LexicalMember
from dsplus_chains.scoring.members.linear import LinearMember
from dsplus_chains.scoring.members.member import Arrays, Member, TextBatch
from dsplus_chains.scoring.members.mixing import Logs, assign_folds, judged_rows, mix, mixing_weights
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.members.novelty import own_novelties
from dsplus_chains.scoring.soft_rows import SoftRows
from dsplus_chains.scoring.stored_encoder import encoder_state, probe_vector
from dsplus_chains.scoring.table_predictions import Scores

ModelName: TypeAlias = Literal["auto", "linear", "fast"]
MODELS: dict[ModelName, tuple[str, ...]] = {
    "linear": ("linear",),
    **dict.fromkeys(("auto", "fast"), ("linear", "mlp", "lexical", "neighbors")),
}
"""The members of each model. For images, the lexical member is left out."""

CalibrationName: TypeAlias = Literal["temperature", "vector", "isotonic"]
CALIBRATIONS: dict[str, Callable[..., Calibration]] = {"vector": fit_vector_scaling, "isotonic": fit_isotonic}
ENOUGH_TO_BEND = 500
"""Smallest number of different examples for a calibration with more than one parameter."""

FOLDS = 5
ENOUGH = 50
"""Smallest number of different examples for comparing members. With fewer, there is one linear head alone."""

CAUTIOUS = 0.01
"""The head's penalty (as `C`) where nothing can calibrate it. It is strong, so the head is not too sure of itself."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class EnsembleClassifier:
    """A weighted geometric mean of members, calibrated on out-of-fold predictions.

    Args:
        encoder: Encoder of the texts, used once for all members.
        members: The members.
        weights: One weight for each member. Together they give the mixture and its temperature.
        reports: The worth of each member.
        calibrator: Further calibration of the mixture's probabilities. None means that the temperature is enough.
        out_of_fold: Log-probabilities of the training examples, of shape [n, classes]. They come from members that were
            not trained on the example or a copy of it. None for a loaded classifier, or if there were too few examples.
        judged: The numbers of the examples that these are judged by, one of each text. None likewise.
        foreseen: Log-probabilities of the soft rows that were foreseen, of shape [folds + 1, n, classes]. They come
            from each fold's members, and last from those of the fit on all rows. None without such rows.
        own_distances: Distances of the training examples from one another, rising, as `NeighborMember` measures them.
            None without such a member.
        early_exit: When the lexical member answers alone. What is out of fold or foreseen comes from both stages. None
            if there is one stage.
    """

    encoder: Encoder
    members: tuple[Member, ...]
    weights: NDArray[np.float64]
    reports: tuple[MemberReport, ...] = ()
    calibrator: Calibration | None = None
    out_of_fold: Logs | None = None
    judged: NDArray[np.int64] | None = None
    foreseen: Logs | None = None
    own_distances: NDArray[np.float64] | None = None
    early_exit: EarlyExit | None = None

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        targets: NDArray[np.int64],
        n_classes: int,
        *,
        encoder: Encoder,
        model: ModelName = "auto",
        head: HeadName = "mlp",
        copies: int = 1,
        calibration: CalibrationName = "temperature",
        seed: int = 0,
        copy_of: NDArray[np.int64] | None = None,
        soft: SoftRows | None = None,
        batch: TextBatch | None = None,
    ) -> Self:
        """Fit the members, mix them and calibrate the mixture.

        The texts are encoded once. Members are fitted on folds, for the mixing and the calibration, and then on all
        examples. Copies of a text share a fold, and the text counts once for the mixing and the calibration.

        Args:
            texts: The examples.
            targets: The class number of each example.
            n_classes: Number of classes.
            encoder: Encoder of the texts. It is not changed.
            model: Name of the set of members; see `MODELS`. With "fast" there is an early exit too.
            head: Name of the network among them; see `HEADS`.
            copies: Number of networks that are averaged.
            calibration: Calibration of the out-of-fold predictions, on top of the mixture's temperature.
            seed: Seed of the folds and of a member's random draws.
            copy_of: For each example, the number of the first one with the same text. By default all texts differ.
            soft: Texts without a label that are learned or foreseen too. Nothing is judged or calibrated by them.
            batch: The examples, and then the soft rows, with their vectors, where several classifiers share them.

        Raises:
            TrainingDataError: The calibration has many parameters, and there are few examples. Or there is no such
                model, head or calibration, or no network in the model.
            InvalidInputError: The encoder gives a number that is not finite.
        """
        calibrations = ("temperature", *CALIBRATIONS)
        for setting in (("model", model, MODELS), ("head", head, HEADS), ("calibration", calibration, calibrations)):
            check_choice(*setting, error=TrainingDataError)
        names = with_head(MODELS[model], head, copies)
        copy_of = np.arange(len(texts)) if copy_of is None else copy_of
        judged = judged_rows(targets, copy_of)
        if calibration != "temperature" and len(judged) < ENOUGH_TO_BEND:
            msg = (
                f"Got {len(judged)} different examples but calibration={calibration!r} takes at least "
                f'{ENOUGH_TO_BEND}; leave it at "temperature"'
            )
            raise TrainingDataError(msg)
        further = [] if soft is None else list(soft.texts)
        batch = TextBatch([*texts, *further], encoder) if batch is None else batch
        check_finite(batch.vectors)
        if len(judged) < ENOUGH:
            if soft is not None:
                msg = f"Got {len(judged)} different labelled examples but learning from others takes at least {ENOUGH}"
                raise TrainingDataError(msg)
            only = LinearMember.fit(batch.vectors, targets, n_classes, c=CAUTIOUS)
            report = MemberReport.of(only, weight=1.0)
            return cls(encoder=encoder, members=(only,), weights=np.ones(1), reports=(report,))
        views = views_of(encoder)
        names = _suiting(names, encoder)
        plan = [(name, view) for name in names for view in (views if name == "linear" else (None,))]
        features = None
        if "lexical" in names:
            features = batch.once(("lexical", seed), lambda: LexicalFeatures.fit(batch.texts, seed=seed))
        lessons = Lessons(
            targets=targets,
            folds=assign_folds(targets, FOLDS, seed=seed, copy_of=copy_of),
            n_folds=FOLDS,
            n_classes=n_classes,
            soft=None if soft is None else soft.targets,
            learned=None if soft is None else soft.learned,
            replayed=None if soft is None else soft.replayed,
        )
        unseen = np.empty(0, dtype=np.int64) if soft is None else len(texts) + soft.foreseen
        fits = [
            lessons.cross_fit(partial(fit_member, name, batch, features, view, seed, copies, n_classes), batch, unseen)
            for name, view in plan
        ]
        logs, beliefs, members = zip(*fits, strict=True)
        known, fair = targets[judged], [log[judged] for log in logs]
        weights = mixing_weights(fair, known)
        reports = tuple(
            MemberReport.of(
                member,
                weight=float(weight),
                accuracy=float((log.argmax(axis=1) == known).mean()),
                log_loss=float(-mix([log], mixing_weights([log], known))[np.arange(len(known)), known].mean()),
            )
            for member, weight, log in zip(members, weights, fair, strict=True)
        )
        near = _near(members)
        mixed, foreseen = mix(logs, weights), mix(beliefs, weights)
        distances = None if near is None else np.sort(near.own_distances())
        early = None
        if model == "fast":
            alone = next(number for number, (name, _) in enumerate(plan) if name == "lexical")
            novelties = own_novelties([texts[row] for row in judged])
            early = EarlyExit.fit(fair[alone], mixed[judged], known, novelties)
            mixed, foreseen = early.merged(logs[alone], mixed), early.merged(beliefs[alone], foreseen)
            if early.answers_all:
                members, weights, distances = (members[alone],), np.array([early.weight]), early.novelties
                reports = (replace(reports[alone], weight=early.weight),)
        calibrator = None if calibration == "temperature" else CALIBRATIONS[calibration](np.exp(mixed[judged]), known)
        if calibrator is not None:
            mixed = calibrator.apply_log(mixed)
            foreseen = calibrator.apply_log(foreseen.reshape(-1, n_classes)).reshape(foreseen.shape)
        return cls(
            encoder=encoder,
            members=members,
            weights=weights,
            reports=reports,
            calibrator=calibrator,
            out_of_fold=mixed,
            judged=judged,
            foreseen=foreseen if len(unseen) else None,
            own_distances=distances,
            early_exit=early,
        )

    def predict(self, texts: Sequence[str]) -> Scores:
        """What the members say of texts. It needs one encode at most, however many members there are."""
        return self.predict_batch(TextBatch(texts, self.encoder))

    def predict_batch(self, batch: TextBatch) -> Scores:
        """The same for texts whose vectors may be known, where several classifiers share them."""
        if self.early_exit is None:
            logs, distances = self._said(batch)
            return Scores(self._calibrated(logs), distances)
        lexical = next(member for member in self.members if isinstance(member, LexicalMember))
        told = lexical.log_proba(batch)
        logs = self.early_exit.logs(told)
        early = self.early_exit.stands(logs)
        distances = None
        if self.own_distances is not None:
            distances = self.early_exit.distances(lexical.novelties(batch), self.own_distances)
        rest = np.flatnonzero(~early)
        if len(rest):
            logs[rest], further = self._said(batch.part(rest), told[rest])
            if distances is not None and further is not None:
                distances[rest] = further
        return Scores(self._calibrated(logs), distances, early)

    def _said(self, batch: TextBatch, lexical: Logs | None = None) -> tuple[Logs, NDArray[np.float64] | None]:
        """What all members together say, where the lexical one may have said it already, and the distances."""
        near = _near(self.members)
        logs = [
            member.log_proba(batch) if lexical is None or not isinstance(member, LexicalMember) else lexical
            for member in self.members
        ]
        return mix(logs, self.weights), None if near is None else near.distances(batch)

    def _calibrated(self, logs: Logs) -> NDArray[np.float64]:
        return np.exp(logs if self.calibrator is None else self.calibrator.apply_log(logs))

    @property
    def example_vectors(self) -> NDArray[np.float32] | None:
        """Vectors of all learned rows, labelled ones first. None if no member looks for neighbours."""
        near = _near(self.members)
        return None if near is None else near.vectors

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        settings: dict[str, Any] = {**encoder_state(self.encoder), "members": []}
        arrays: Arrays = {"weights": self.weights, "probe": self.probe()}
        if self.own_distances is not None:
            arrays["own_distances"] = self.own_distances
        if self.calibrator is not None:
            settings["calibration"] = self.calibrator.to_dict()
        if self.early_exit is not None:
            settings["early_exit"], kept = self.early_exit.state()
            arrays.update({f"early_exit.{name}": table for name, table in kept.items()})
        reports = self.reports or (None,) * len(self.members)
        for number, (member, report) in enumerate(zip(self.members, reports, strict=True)):
            own, tables = member.state()
            told = None if report is None else {"accuracy": report.accuracy, "log_loss": report.log_loss}
            settings["members"].append({"kind": member.kind, "settings": own, "report": told})
            arrays.update({f"{number}.{name}": table for name, table in tables.items()})
        return settings, arrays

    def probe(self) -> NDArray[np.float32]:
        """The vector of a fixed input, which tells one encoder from another."""
        return probe_vector(self.encoder)

    @property
    def pairs(self) -> bool:
        """Whether it reads pairs of texts."""
        return isinstance(self.encoder, PairEncoder)

    @property
    def modality(self) -> Modality:
        """What it reads."""
        return modality_of(self.encoder)


def _suiting(members: Sequence[str], encoder: Encoder) -> tuple[str, ...]:
    """The members that suit an encoder. There are no words in an image. The words of a pair can be compared."""
    named = tuple(name for name in members if name != "lexical" or modality_of(encoder) == "text")
    return (*named, "likeness") if isinstance(encoder, PairEncoder) else named


def _near(members: Sequence[Member]) -> NeighborMember | None:
    return next((member for member in members if isinstance(member, NeighborMember)), None)
