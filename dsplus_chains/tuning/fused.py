"""Decide who has the last word. The fusion is fitted on tuning rows, and judged by rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.schema import InfeasibleTargetError, InvalidInputError, Prediction
from dsplus_chains.tuning.tuned import TunedThreshold
from dsplus_chains.tuning.tuning_rows import TuningRows

FusionMode: TypeAlias = Literal["replace", "posterior", "auto"]
FOLDS = 10
FEWEST_ROWS = 20
"""With fewer rows than this, the worth of fusion cannot be judged."""


class Tuned(NamedTuple):
    """A tuned chain, and its worth on each tuning row.

    The worth is 1 for a right answer and 0 for a wrong one. The price of a call is subtracted if the row is deferred.
    """

    result: TunedThreshold
    worth: NDArray[np.float64]


def better_of_both(tune: Callable[[FusionMode], Tuned], *, cheaper: bool = False) -> Tuned:
    """Choose between two tuned chains. One replaces the small model's answer, the other weighs both answers.

    `is_weighing_better` decides. If only one chain meets the bounds, that one is taken. If fusion has too little to
    learn from, the chain that replaces is taken.

    Args:
        tune: Tunes the chain with or without fusion.
        cheaper: Take the chain that costs less, whatever each is worth. A tie goes to the one that replaces.
    """
    try:
        replaced = tune("replace")
    except InfeasibleTargetError as error:
        try:
            return tune("posterior")
        except (InfeasibleTargetError, InvalidInputError):
            raise error from None
    try:
        weighed = tune("posterior")
    except (InfeasibleTargetError, InvalidInputError):
        return replaced
    if cheaper:
        return weighed if weighed.result.cost < replaced.result.cost else replaced
    return weighed if is_weighing_better(weighed.worth, replaced.worth) else replaced


def is_weighing_better(weighed: ArrayLike, replaced: ArrayLike) -> bool:
    """Whether to take the chain that weighs both answers, instead of the chain that replaces the small model's.

    Weighing both is expected to be better, because it also knows what the small model makes of each label. A few rows
    are no reason to leave it. So replacing wins only if it is ahead by more than two standard errors of the paired
    difference.

    Args:
        weighed: Worth of the chain that weighs, on each row.
        replaced: Worth of the chain that replaces, on each row.

    Example:
        >>> [is_weighing_better([0] * n + [1] * (100 - n), [1] * 100) for n in (0, 3, 4)]
        [True, True, False]
    """
    ahead = np.asarray(replaced, dtype=np.float64) - np.asarray(weighed, dtype=np.float64)
    return bool(ahead.mean() <= 2 * ahead.std() / np.sqrt(len(ahead)))


def fused_rows(
    rows: TuningRows, fusion: FusionMode | AnswerFusion, *, guaranteed: bool, seed: int
) -> tuple[AnswerFusion | None, TuningRows]:
    """The fusion to use, and the rows to choose a threshold on, answered as that fusion would answer them.

    For estimates, each row is answered by a fusion that has not seen it or a copy of it. That fusion is fitted on nine
    tenths of the rows. The fusion that is kept is fitted on all rows. A guarantee is about the very fusion that is
    kept. So for a guarantee a random half of the rows fits it, and only the other half is returned.

    Args:
        rows: The tuning rows.
        fusion: "replace" uses no fusion, and "posterior" fits one. An `AnswerFusion` was fitted on other rows.
        guaranteed: Whether a guarantee will be made from the rows.
        seed: Seed of the split and the folds.

    Raises:
        ValueError: The mode is unknown.
        InvalidInputError: There are too few rows to learn from. See `AnswerFusion.rows_to_learn_from`.
    """
    if isinstance(fusion, AnswerFusion):
        return fusion, rows.fused(_weighed(fusion, rows), trusted=False)
    if fusion == "replace":
        return None, rows
    if fusion != "posterior":
        msg = f"Got fusion={fusion!r} but expected one of {', '.join(get_args(FusionMode))}, or an AnswerFusion"
        raise ValueError(msg)
    usable = AnswerFusion.rows_to_learn_from(rows.predictions, rows.labels, rows.answers, list(rows.all_labels))
    if usable < FEWEST_ROWS:
        msg = (
            f"Got {usable} tuning rows on which the small model gives a probability to the true label and to the large "
            f"answer, but fusion takes at least {FEWEST_ROWS}; use more, or fusion='replace'"
        )
        raise InvalidInputError(msg)
    if guaranteed:
        text, order = _shuffled(rows, seed=seed)
        first = np.isin(text, order[: len(order) // 2])
        known, judged = rows.part(np.flatnonzero(first)), rows.part(np.flatnonzero(~first))
        fitted = _fit(known, rows.all_labels)
        return fitted, judged.fused(_weighed(fitted, judged), trusted=False)
    fitted = _fit(rows, rows.all_labels)
    return fitted, rows.fused(_cross_fitted(rows, fitted, seed=seed), trusted=True)


def _fit(rows: TuningRows, names: Iterable[Any], like: AnswerFusion | None = None) -> AnswerFusion:
    return AnswerFusion.fit(
        rows.predictions,
        rows.labels,
        rows.answers,
        large_confidences=rows.large_confidences,
        names=list(names),
        like=like,
    )


def _weighed(fusion: AnswerFusion, rows: TuningRows) -> list[Prediction | None]:
    return fusion.weigh(rows.predictions, rows.answers, rows.large_confidences)


def _cross_fitted(rows: TuningRows, whole: AnswerFusion, *, seed: int) -> list[Prediction | None]:
    """The fused prediction of each row, from a fit on nine tenths that do not hold the row.

    The smoothing alone is that of the whole fusion. It is one of ten, so one tenth of the rows hardly sways it.
    """
    text, order = _shuffled(rows, seed=seed)
    fold = order[text] % FOLDS
    results: list[Prediction | None] = [None] * len(rows.labels)
    for number in range(FOLDS):
        inside, outside = rows.part(np.flatnonzero(fold != number)), np.flatnonzero(fold == number)
        fusion = _fit(inside, rows.all_labels, whole)
        for row, both in zip(outside.tolist(), _weighed(fusion, rows.part(outside)), strict=True):
            results[row] = both
    return results


def _shuffled(rows: TuningRows, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each row's text, and all such numbers in a random order. Copies of a row share a number."""
    _, text = np.unique(rows.copy_of, return_inverse=True)
    return text, np.random.default_rng(seed).permutation(int(text.max()) + 1)
