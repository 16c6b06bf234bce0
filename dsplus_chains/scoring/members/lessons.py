"""`Lessons` tell what each fold's members are fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.scoring.members.head import Targets
from dsplus_chains.scoring.members.member import Member, TextBatch
from dsplus_chains.scoring.members.mixing import Logs


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """The rows that each fit sees. Labelled rows are held out fold by fold. Soft rows are in every fit.

    The folds are numbered from 0. The number after the last stands for the fit on all rows.

    Args:
        targets: The class number of each labelled row.
        folds: The fold of each labelled row.
        n_folds: Number of folds.
        n_classes: Number of classes.
        soft: Targets of the soft rows, of shape [folds + 1, n, classes]. They are numbered after the labelled rows.
        learned: The numbers of the soft rows that are learned.

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

    def held_out(self, fold: int) -> NDArray[np.int64]:
        """The labelled rows that a fold's members do not see."""
        return np.flatnonzero(self.folds == fold)

    def rows(self, fold: int) -> NDArray[np.int64]:
        """The rows that a fold's members are fitted on."""
        labelled = np.flatnonzero(self.folds != fold)
        return labelled if self.learned is None else np.concatenate([labelled, len(self.targets) + self.learned])

    def taught(self, fold: int) -> Targets:
        """What these rows teach. It is a class number a row where no row is soft."""
        labelled: Targets = self.targets[self.folds != fold]
        if self.soft is None or self.learned is None or not len(self.learned):
            return labelled
        return np.concatenate([np.eye(self.n_classes)[labelled], self.soft[fold, self.learned]])

    def cross_fit(
        self,
        fit: Callable[[NDArray[np.int64], Targets], Member],
        batch: TextBatch,
        unseen: NDArray[np.int64],
    ) -> tuple[Logs, Logs, Member]:
        """Fit a member fold by fold, and then on all rows.

        Args:
            fit: Fits the member on rows, with what they teach.
            batch: The texts.
            unseen: The numbers of the texts that every fit predicts.

        Returns:
            The log-probabilities of the labelled rows, from fits that had not seen them. Those of the unseen texts, one
            table a fit. The member that was fitted on all rows.
        """
        logs = np.empty((len(self.targets), self.n_classes))
        beliefs = np.empty((self.n_folds + 1, len(unseen), self.n_classes))
        watched = batch.part(unseen)
        for fold in range(self.n_folds + 1):
            member = fit(self.rows(fold), self.taught(fold))
            outside = self.held_out(fold)
            if len(outside):
                logs[outside] = member.log_proba(batch.part(outside))
            if len(unseen):
                beliefs[fold] = member.log_proba(watched)
        return logs, beliefs, member
