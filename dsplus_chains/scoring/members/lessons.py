"""`Lessons` tell what each fold's members are fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.scoring.members.head import Targets
from dsplus_chains.scoring.members.member import Member, TextBatch
from dsplus_chains.scoring.members.mixing import Logs
from dsplus_chains.scoring.members.steps import Steps

Fit = Callable[[NDArray[np.int64], Targets, Steps | None, Member | None], Member]
"""Fits a member on rows, with what they teach, and with the steps that a network takes after that. The last argument is
the member that was fitted on all rows, once there is one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """The rows that each fit sees. Labelled rows are held out fold by fold. Soft rows are in every fit, or its steps.

    The folds are numbered from 0. The number after the last stands for the fit on all rows.

    Args:
        targets: The class number of each labelled row.
        folds: The fold of each labelled row.
        n_folds: Number of folds.
        n_classes: Number of classes.
        soft: Targets of the soft rows, of shape [folds + 1, n, classes]. They are numbered after the labelled rows.
        learned: The numbers of the soft rows that are learned.
        replayed: Whether each soft row is replayed, if they are learned by steps.

    Example:
        >>> lessons = Lessons(targets=np.array([0, 1, 1]), folds=np.array([0, 1, 0]), n_folds=2, n_classes=2)
        >>> [lessons.rows(fold).tolist() for fold in range(3)], [lessons.held_out(fold).tolist() for fold in range(3)]
        ([[1], [0, 2], [0, 1, 2]], [[0, 2], [1], []])
    """

    targets: NDArray[np.int64]
    folds: NDArray[np.int64]
    n_folds: int
    n_classes: int
    soft: NDArray[np.float64] | None = None
    learned: NDArray[np.int64] | None = None
    replayed: NDArray[np.bool_] | None = None

    def held_out(self, fold: int) -> NDArray[np.int64]:
        """The labelled rows that a fold's members do not see."""
        return np.flatnonzero(self.folds == fold)

    def rows(self, fold: int) -> NDArray[np.int64]:
        """The rows that a fold's members are fitted on."""
        labelled = np.flatnonzero(self.folds != fold)
        if self.learned is None or self.replayed is not None:
            return labelled
        return np.concatenate([labelled, len(self.targets) + self.learned])

    def taught(self, fold: int) -> Targets:
        """What these rows teach. It is a class number a row where no row is soft."""
        labelled: Targets = self.targets[self.folds != fold]
        if self.soft is None or self.learned is None or self.replayed is not None or not len(self.learned):
            return labelled
        return np.concatenate([np.eye(self.n_classes)[labelled], self.soft[fold, self.learned]])

    def steps(self, fold: int) -> Steps | None:
        """What a network of this fold is taught further. None if the soft rows are not learned by steps."""
        if self.soft is None or self.learned is None or self.replayed is None:
            return None
        own = self.replayed[self.learned]
        taught, replayed = self.learned[~own], self.learned[own]
        return Steps(
            taught=len(self.targets) + taught,
            targets=self.soft[fold, taught],
            replayed=len(self.targets) + replayed,
            beliefs=self.soft[fold, replayed],
        )

    def cross_fit(
        self,
        fit: Fit,
        batch: TextBatch,
        unseen: NDArray[np.int64],
    ) -> tuple[Logs, Logs, Member]:
        """Fit a member on all rows, and then fold by fold.

        Args:
            fit: Fits the member.
            batch: The texts.
            unseen: The numbers of the texts that every fit predicts.

        Returns:
            The log-probabilities of the labelled rows, from fits that had not seen them. Those of the unseen texts, one
            table a fit. The member that was fitted on all rows.
        """
        logs = np.empty((len(self.targets), self.n_classes))
        beliefs = np.empty((self.n_folds + 1, len(unseen), self.n_classes))
        watched = batch.part(unseen)
        whole = fit(self.rows(self.n_folds), self.taught(self.n_folds), self.steps(self.n_folds), None)
        if len(unseen):
            beliefs[self.n_folds] = whole.log_proba(watched)
        for fold in range(self.n_folds):
            member = fit(self.rows(fold), self.taught(fold), self.steps(fold), whole)
            outside = self.held_out(fold)
            if len(outside):
                logs[outside] = member.log_proba(batch.part(outside))
            if len(unseen):
                beliefs[fold] = member.log_proba(watched)
        return logs, beliefs, whole
