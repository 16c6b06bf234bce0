"""The result of a hint search. It tells what each ingredient of the prompt was worth, and which were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from dsplus_chains.evaluation.baselines import confidences
from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.schema import Prediction, brief_repr
from dsplus_chains.tuning.choice import Comparison
from dsplus_chains.tuning.tuned import Estimate

HEADINGS = ("hints", "exemplars", "fusion", "right", "95 %", "large", "tokens", "fixed", "broke")
"""Headings of the ablation table. The column "large" tells how often the large model itself was right."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class HintCell:
    """One way to ask the large model and to weigh its answer. It is measured on rows that could be deferred.

    Args:
        hints: What the large model was told of the small one's view.
        exemplars: How many solved examples it was shown.
        fusion: Whose word was the last. With "posterior", each row is judged by weights that had not seen it.
        set_level: The level that "hard" pruned labels by. None where they were not pruned by one.
        accuracy: Accuracy of the chain on these rows, all of them deferred. Where the large model failed, the small
            one's answer counts.
        large_accuracy: Accuracy of what the large model itself said. A failure counts as wrong.
        tokens: Tokens of all these calls, answers from a cache included. None if the model does not tell.
        tokens_a_row: Mean tokens of the rows that told. This is the cost of a setting.
        characters: Characters of all these prompts.
        failed: Number of rows without an answer of the large model.
        silent: Number of rows that it gave no reply to. The others of these rows have a reply that is no label.
        error: Why the first of these rows has none.
        fixed: Number of rows where the chain is right and the small model alone is wrong.
        broke: Number of rows where the chain is wrong and the small model alone is right.
        right: Whether the chain is right, a flag a row.
        answers: What the large model answered, one a row. None where it failed.
        confidences: How sure it was, where its provider tells.
    """

    hints: HintMode
    exemplars: int
    fusion: Literal["replace", "posterior"]
    set_level: float | None
    accuracy: Estimate
    large_accuracy: Estimate
    tokens: int | None
    tokens_a_row: float | None
    characters: int
    failed: int
    silent: int
    error: str | None
    fixed: int
    broke: int
    right: tuple[bool, ...]
    answers: tuple[Any, ...]
    confidences: tuple[float | None, ...]

    @property
    def name(self) -> str:
        """The setting in words."""
        return f"{setting_name(self.hints, self.exemplars)}, {self.fusion}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the columns that have a value a row."""
        plain = asdict(self)
        return {name: value for name, value in plain.items() if name not in {"right", "answers", "confidences"}}

    def line(self, *, taken: bool) -> tuple[str, ...]:
        """Its line of the ablation table."""
        return (
            f"→ {self.hints}" if taken else self.hints,
            str(self.exemplars),
            self.fusion,
            *_share(self.accuracy),
            str(self.large_accuracy),
            "?" if self.tokens is None else f"{self.tokens:,}",
            str(self.fixed),
            str(self.broke),
        )


@brief_repr
@dataclass(frozen=True, kw_only=True)
class HintSearch:
    """What each way to ask a live large model was worth on the same rows, and the way to take.

    Args:
        cells: What was measured, in the order in which it was asked for.
        best: The cell to take. It is the cheapest, unless a dearer one is better by more than chance.
        comparison: The best cell against the cheapest, on the same rows. None if the best is the cheapest.
        rows: The numbers of the tuning rows that were asked about. The small model is least sure of these.
        predictions: What the small model says of every tuning row.
        small_accuracy: Accuracy of the small model alone, on the rows that were asked about.
        untried: What was not measured, and why.
    """

    cells: tuple[HintCell, ...]
    best: HintCell
    comparison: Comparison | None
    rows: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    small_accuracy: Estimate
    untried: tuple[str, ...] = ()

    @property
    def tokens(self) -> int | None:
        """Tokens of all calls, answers from a cache included. None if the model does not tell."""
        asked = {(cell.hints, cell.exemplars): cell.tokens for cell in self.cells}
        told = [tokens for tokens in asked.values() if tokens is not None]
        return sum(told) if len(told) == len(asked) else None

    @property
    def tried_several(self) -> bool:
        """Whether there was more than one way to ask."""
        return len({(cell.hints, cell.exemplars) for cell in self.cells}) > 1 or bool(self.untried)

    @property
    def max_escalation(self) -> float:
        """The share of tuning rows that were asked about. A threshold that defers more is not known to be good."""
        return len(self.rows) / len(self.predictions)

    @property
    def others(self) -> list[int]:
        """The numbers of the rows that were not asked about. Those the small model is least sure of come first."""
        return least_sure(self.predictions)[len(self.rows) :]

    @property
    def large_answers(self) -> list[Any]:
        """The large model's answer to every tuning row, when asked in the best way. None where it was not asked.

        To find a threshold that defers no row that was not asked about, call ``tune_threshold(search.predictions,
        labels, search.large_answers, max_escalation=search.max_escalation)``.
        """
        return self._everywhere(self.best.answers)

    @property
    def large_confidences(self) -> list[float | None]:
        """How sure the large model was of every tuning row, where it was asked and its provider tells."""
        return self._everywhere(self.best.confidences)

    @property
    def meaning(self) -> str:
        """What was chosen and why, in plain sentences."""
        best, n = self.best, len(self.rows)
        right = f"right on {best.accuracy} of the {n} rows that the small model is least sure of"
        said = [
            f"Taken: {best.name}: {right} (95 % interval {best.accuracy.span}), against "
            f"{self.small_accuracy} for the small model alone; {best.fixed} answers fixed, {best.broke} broken."
        ]
        if self.comparison is not None:
            versus = self.comparison
            said.append(
                f"It is better than the cheapest setting: {versus.better} rows to {versus.worse} (exact sign test, "
                f"p = {versus.p:.2g})."
            )
        above = [cell for cell in self.cells if sum(cell.right) > sum(best.right)]
        if above:
            top = max(above, key=lambda cell: sum(cell.right))
            versus = Comparison.of(top.right, best.right)
            said.append(
                f"{top.name[0].upper()}{top.name[1:]} was right on {versus.better - versus.worse} more, which is not "
                f"told apart from chance on {n} rows (p = {versus.p:.2g} of one of {len(self.cells)} settings)."
            )
        elif self.comparison is None and self.tried_several:
            said.append("Nothing dearer was more often right.")
        said += [f"Not tried: {what}." for what in self.untried]
        return " ".join(said)

    def table(self) -> list[tuple[str, ...]]:
        """The ablation as lines of text under `HEADINGS`. The first line is the small model alone."""
        alone = ("small alone", "", "", *_share(self.small_accuracy), "", "0", "", "")
        return [alone, *(cell.line(taken=cell is self.best) for cell in self.cells)]

    def __str__(self) -> str:
        """The ablation table, and what was chosen and why."""
        lines = [HEADINGS, *self.table()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([*(line.rstrip() for line in text), "", self.meaning])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the columns that have a value a row."""
        return {
            "n": len(self.predictions),
            "rows": len(self.rows),
            "small_accuracy": asdict(self.small_accuracy),
            "cells": [cell.to_dict() for cell in self.cells],
            "best": self.best.to_dict(),
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "tokens": self.tokens,
            "untried": list(self.untried),
            "meaning": self.meaning,
        }

    def _everywhere(self, values: tuple[Any, ...]) -> list[Any]:
        found: Mapping[int, Any] = dict(zip(self.rows, values, strict=True))
        return [found.get(row) for row in range(len(self.predictions))]


def least_sure(predictions: Sequence[Prediction]) -> list[int]:
    """The numbers of all rows. Those the small model is least sure of, or says nothing about, come first.

    Example:
        >>> least_sure([Prediction(label="a", confidence=0.9), Prediction(label="b", confidence=0.6)])
        [1, 0]
    """
    found: list[int] = np.argsort(np.nan_to_num(confidences(predictions), nan=-1.0), kind="stable").tolist()
    return found


def setting_name(hints: HintMode, exemplars: int) -> str:
    """A way to ask, in words.

    Example:
        >>> setting_name("soft", 4), setting_name("none", 0)
        ('soft hints, 4 exemplars', 'no hints')
    """
    told = "no hints" if hints == "none" else f"{hints} hints"
    return f"{told}, {exemplars} exemplar{'s' if exemplars > 1 else ''}" if exemplars else told


def _share(estimate: Estimate) -> tuple[str, str]:
    return str(estimate), f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f} %"
