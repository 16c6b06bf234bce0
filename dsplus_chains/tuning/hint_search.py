"""The result of a hint search. It tells what each ingredient of the prompt was worth, and which were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dsplus_chains.evaluation.baselines import confidences
from dsplus_chains.schema import Prediction, brief_repr, share
from dsplus_chains.tuning.choice import MOST_LOST, Comparison
from dsplus_chains.tuning.hint_cell import HintCell, costs_of, setting_name, with_interval
from dsplus_chains.tuning.hint_choice import best_way
from dsplus_chains.tuning.tuned import Estimate

_HEADINGS = (
    "hints",
    "exemplars",
    "group",
    "fusion",
    "right",
    "95 %",
    "large",
    "tokens",
    "$ per 1,000",
    "fixed",
    "broke",
)


@brief_repr
@dataclass(frozen=True, kw_only=True)
class HintSearch:
    """What each way to ask a live large model was worth on the same rows, and the way to take.

    Args:
        cells: What was measured, in the order in which it was asked for.
        best: The cell to take. See `best_way`.
        comparison: The best cell without groups against the cheapest one, on the same rows. None if that is the best.
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
        asked = {cell.way: cell.tokens for cell in self.cells}
        told = [tokens for tokens in asked.values() if tokens is not None]
        return sum(told) if len(told) == len(asked) else None

    @property
    def tried_several(self) -> bool:
        """Whether there was more than one way to ask."""
        return len({cell.way for cell in self.cells}) > 1 or bool(self.untried)

    @property
    def plain(self) -> HintCell | None:
        """The first cell without hints, exemplars and groups. None if this was not tried."""
        return next((cell for cell in self.cells if cell.way == ("none", 0, 1)), None)

    @property
    def saving(self) -> float | None:
        """The share of the cost of plain asking that the best way saves. It is negative if that costs more.

        None if plain asking was not tried, or the model does not tell its tokens.
        """
        if self.plain is None or None in (self.best.tokens_a_row, self.plain.tokens_a_row):
            return None
        cost, of_plain = costs_of([self.best, self.plain])
        return 1 - cost / of_plain if of_plain else None

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
            versus, alone = self.comparison, best_way(self.cells).alone
            which = "It" if alone is best else f"Without groups, {alone.name}"
            said.append(
                f"{which} is better than the cheapest setting: {versus.better} rows to {versus.worse} (exact sign "
                f"test, p = {versus.p:.2g})."
            )
        if best.cost:
            said.append(f"It costs {best.cost}.")
        if self.saving is not None and self.plain is not None and best.way != self.plain.way:
            less = f"{share(abs(self.saving))} {'less' if self.saving >= 0 else 'more'}"
            said.append(f"That is {less} than with no hints and no exemplars ({self.plain.cost}).")
        said += self._of_groups()
        top = max(self.cells, key=lambda cell: sum(cell.right))
        if sum(top.right) > sum(best.right):
            said.append(self._of_a_better(top))
        elif self.comparison is None and self.tried_several:
            said.append("Nothing dearer was more often right.")
        said += [f"Not tried: {what}." for what in self.untried]
        return " ".join(said)

    def table(self) -> list[tuple[str, ...]]:
        """The ablation as lines of text under `headings`. The first line is the small model alone."""
        nothing = ("0", "0") if self._is_priced else ("0",)
        alone = (
            "small alone",
            "",
            *([""] if self._is_grouped else []),
            "",
            *with_interval(self.small_accuracy),
            "",
            *nothing,
            "",
            "",
        )
        shown = {"grouped": self._is_grouped, "priced": self._is_priced}
        return [alone, *(cell.line(taken=cell is self.best, **shown) for cell in self.cells)]

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the ablation table. The column "large" tells how often the large model itself was right."""
        shown = {"group": self._is_grouped, "$ per 1,000": self._is_priced}
        return tuple(name for name in _HEADINGS if shown.get(name, True))

    def _of_groups(self) -> list[str]:
        """What speaks for the groups that were taken, or against those that were not."""
        _, alone, _, grouped = best_way(self.cells)
        said = []
        for cell in [cell for cell in grouped if self.best.group == 1 or cell is self.best]:
            versus = Comparison.of(cell.right, alone.right)
            lost = max(0.0, versus.may_lose(len(self.rows), tests=len(grouped)))
            cost, of_alone = costs_of([cell, alone])
            against = " That is too much." if lost > MOST_LOST else ""
            if None in (cell.tokens_a_row, alone.tokens_a_row):
                against += " Its cost is not known."
            elif cost >= of_alone:
                against += " It costs no less."
            said.append(
                f"Against {alone.name}, {setting_name(*cell.way)} was alone right on {versus.better} rows and alone "
                f"wrong on {versus.worse}. So it may lose about {share(lost)} of the answers, and {share(MOST_LOST)} "
                f"are allowed.{against}"
            )
        return said

    def _of_a_better(self, top: HintCell) -> str:
        """Why a way that was more often right was not taken."""
        n, versus = len(self.rows), Comparison.of(top.right, self.best.right)
        more = f"{top.name[0].upper()}{top.name[1:]} was right on {versus.better - versus.worse} more, which is"
        if not versus.is_better(tests=len(self.cells)):
            of = f"{n} rows (p = {versus.p:.2g} of one of {len(self.cells)} settings)"
            return f"{more} not told apart from chance on {of}."
        cost, of_best = costs_of([top, self.best])
        lost = Comparison.of(self.best.right, top.right).may_lose(n, tests=len(best_way(self.cells).grouped) or 1)
        within = ", and the loss is within what is allowed" if self.best.group > 1 and lost <= MOST_LOST else ""
        return f"{more} beyond chance (p = {versus.p:.2g}).{f' But it costs more{within}.' if cost > of_best else ''}"

    @property
    def _is_grouped(self) -> bool:
        return any(cell.group > 1 for cell in self.cells)

    @property
    def _is_priced(self) -> bool:
        return any(cell.usd_per_1000 is not None for cell in self.cells)

    def __str__(self) -> str:
        """The ablation table, and what was chosen and why."""
        lines = [self.headings, *self.table()]
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
            "saving": self.saving,
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
