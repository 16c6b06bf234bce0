"""What one way to ask the large model is worth, from its replies."""

from __future__ import annotations

from typing import Literal

from dsplus_chains.schema import InvalidInputError
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.fused import FusionMode, fused_rows
from dsplus_chains.tuning.hint_cell import HintCell
from dsplus_chains.tuning.trial import Replies
from dsplus_chains.tuning.tuned import Estimate
from dsplus_chains.tuning.tuning_rows import TuningRows, read_rows


def measured(
    way: LabelTask,
    replies: Replies,
    rows: TuningRows,
    *,
    usd_per_1000: float | None,
    fusion: FusionMode,
    seed: int,
) -> list[HintCell]:
    """Measure what the chain would be worth on these rows, with and without fusion.

    Args:
        way: How the large model was asked.
        replies: What it said.
        rows: The rows, with what the small model says of them.
        usd_per_1000: US dollars of 1,000 such rows. None if the price is not known.
        fusion: "replace", "posterior", or "auto" for both.
        seed: Seed of the folds of fusion.
    """
    answered = read_rows(
        rows.predictions,
        rows.labels,
        replies.answers,
        large_confidences=replies.confidences,
        costs=rows.costs,
        copy_of=rows.copy_of,
    )
    judged: dict[Literal["replace", "posterior"], TuningRows] = {"replace": answered}
    if fusion != "replace":
        try:
            _, judged["posterior"] = fused_rows(answered, "posterior", guaranteed=False, seed=seed)
        except InvalidInputError:
            pass  # with too few answers to learn from, they are the last word
        else:
            judged = judged if fusion == "auto" else {"posterior": judged["posterior"]}
    n, small = len(rows.labels), rows.small_right
    return [
        HintCell(
            hints=way.hints,
            exemplars=way.exemplars,
            group=way.group,
            fusion=mode,
            set_level=way.set_level,
            accuracy=Estimate.of(found.deferred_right.sum(), n),
            large_accuracy=Estimate.of(found.large_right.sum(), n),
            tokens=replies.tokens,
            tokens_a_row=replies.tokens_a_row,
            usd_per_1000=usd_per_1000,
            characters=replies.characters,
            failed=replies.failed,
            silent=replies.silent,
            error=replies.error,
            fixed=int((found.deferred_right & ~small).sum()),
            broke=int((~found.deferred_right & small).sum()),
            right=tuple(found.deferred_right.tolist()),
            answers=tuple(replies.answers),
            confidences=tuple(replies.confidences),
        )
        for mode, found in judged.items()
    ]
