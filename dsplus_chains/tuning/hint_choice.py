"""Which of the ways to ask that were measured is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsplus_chains.tuning.choice import MOST_LOST, Comparison, cheapest_unless_better
from dsplus_chains.tuning.fused import is_weighing_better
from dsplus_chains.tuning.hint_cell import HintCell, Way, costs_of


class HintChoice(NamedTuple):
    """The way to take."""

    best: HintCell
    alone: HintCell
    """The best way that asks about each row by itself. If there is none, it is the best of all."""
    comparison: Comparison | None
    """The best way that asks about each row by itself, against the cheapest such way, if that is another."""
    grouped: list[HintCell]
    """The ways that ask in groups, and were compared with it."""


def best_way(cells: Sequence[HintCell]) -> HintChoice:
    """The cell to take.

    Of the ways that ask about each row by itself, it is the cheapest one, unless a dearer one is better by more than
    chance. A way that asks in groups replaces it only if it costs less and is shown to lose at most 2 % of right
    answers. This is the stricter side, because a group saves money for sure, and what it loses has to be ruled out.

    Args:
        cells: What was measured. Of one way to ask, the cell that replaces comes first.
    """
    ways: dict[Way, HintCell] = {}
    for cell in cells:
        replaced = ways.get(cell.way)
        if cell.failed < len(cell.answers) and (replaced is None or is_weighing_better(cell.right, replaced.right)):
            ways[cell.way] = cell
    single = [cell for cell in ways.values() if cell.group == 1] or list(ways.values())
    costs = costs_of(single)
    alone = single[cheapest_unless_better(costs, [cell.right for cell in single])]
    cheapest = single[int(np.argmin(costs))]
    comparison = None if alone is cheapest else Comparison.of(alone.right, cheapest.right)
    grouped = [cell for cell in ways.values() if cell.group > 1 and cell not in single]
    fit = [cell for cell in grouped if replaces(cell, alone, tests=len(grouped))]
    return HintChoice(min([alone, *fit], key=lambda cell: costs_of([cell, alone])[0]), alone, comparison, grouped)


def replaces(grouped: HintCell, alone: HintCell, *, tests: int) -> bool:
    """Whether a way that asks in groups costs less than one that does not, and is shown to lose next to nothing.

    Args:
        grouped: The way that asks in groups.
        alone: The one that does not.
        tests: How many ways ask in groups.
    """
    if grouped.tokens_a_row is None or alone.tokens_a_row is None:
        return False  # rows that are asked about once more, by themselves, are in no count of characters
    cost, of_alone = costs_of([grouped, alone])
    lost = Comparison.of(grouped.right, alone.right).may_lose(len(alone.right), tests=tests)
    return cost < of_alone and lost <= MOST_LOST
