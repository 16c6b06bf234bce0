"""Whose word is the last: fitting the fusion on tuning rows, and judging it by rows that it has not seen."""

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
"""With fewer rows than this nothing can be said of what fusion is worth."""


class Tuned(NamedTuple):
    """A tuned chain, and what it is worth on each tuning row: 1 if right, less the price of a call if deferred."""

    result: TunedThreshold
    worth: NDArray[np.float64]


def better_of_both(tune: Callable[[FusionMode], Tuned], *, cheaper: bool = False) -> Tuned:
    """Which of two tuned chains to take: the large model's answer replaces the small one's, or both are weighed.

    What decides is `is_weighing_better`. If only one of them meets the bounds, it is that one; where fusion has too
    little to learn from, the one that replaces.

    Args:
        tune: Tunes the chain with or without fusion.
        cheaper: Take the one that costs less, whatever each is worth; of equals the one that replaces.
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
    """Whether the chain to take is the one that weighs both models' words, not the one where the large one's replaces.

    Weighing both is expected to be better. The counts are not a fair judge of that: the threshold of a chain that
    replaces is where most of these rows were right, some of them by luck, while weighing is usually given its own by
    expectations. So it yields only to one that is ahead by more than two standard errors of the paired difference.

    Args:
        weighed: What the one is worth on each row.
        replaced: What the other is worth on each.

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

    For estimates every row is answered by a fusion fitted on nine tenths that do not hold it, while the fusion that is
    kept has seen all. A guarantee is about the very fusion that is kept, so there a random half of the rows fits it,
    and only the other half is given back.

    Args:
        rows: The tuning rows.
        fusion: "replace": none; "posterior": fit one; or one that was fitted on other rows.
        guaranteed: Whether a guarantee will be made from the rows.
        seed: Of the split and the folds.

    Raises:
        ValueError: An unknown mode.
        InvalidInputError: Too few rows to learn from; see `AnswerFusion.rows_to_learn_from`.
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
            f"Got {usable} tuning rows on which the true label and the large model's have a probability of the small "
            f"one's but fusion takes at least {FEWEST_ROWS}; use more, or fusion='replace'"
        )
        raise InvalidInputError(msg)
    if guaranteed:
        n = len(rows.labels)
        order = np.random.default_rng(seed).permutation(n)
        known, judged = rows.part(np.sort(order[: n // 2])), rows.part(np.sort(order[n // 2 :]))
        fitted = _fit(known, rows.all_labels)
        return fitted, judged.fused(_weighed(fitted, judged), trusted=False)
    return _fit(rows, rows.all_labels), rows.fused(_cross_fitted(rows, seed=seed), trusted=True)


def _fit(rows: TuningRows, names: Iterable[Any]) -> AnswerFusion:
    return AnswerFusion.fit(
        rows.predictions,
        rows.labels,
        rows.answers,
        large_confidences=rows.large_confidences,
        names=list(names),
    )


def _weighed(fusion: AnswerFusion, rows: TuningRows) -> list[Prediction | None]:
    return fusion.weigh(rows.predictions, rows.answers, rows.large_confidences)


def _cross_fitted(rows: TuningRows, *, seed: int) -> list[Prediction | None]:
    """What fusion makes of each row, from a fit on nine tenths that do not hold it."""
    fold = np.random.default_rng(seed).permutation(len(rows.labels)) % FOLDS
    results: list[Prediction | None] = [None] * len(rows.labels)
    for number in range(FOLDS):
        inside, outside = rows.part(np.flatnonzero(fold != number)), np.flatnonzero(fold == number)
        fusion = _fit(inside, rows.all_labels)
        for row, both in zip(outside.tolist(), _weighed(fusion, rows.part(outside)), strict=True):
            results[row] = both
    return results
