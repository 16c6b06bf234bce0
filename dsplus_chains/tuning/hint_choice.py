"""Which of the ways to ask that were measured is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.tuning.choice import Comparison, cheapest_unless_better
from dsplus_chains.tuning.fused import is_weighing_better
from dsplus_chains.tuning.hint_cell import HintCell, costs_of


def best_way(cells: Sequence[HintCell]) -> tuple[HintCell, Comparison | None]:
    """The cell to take, and its comparison with the cheapest one, if that is another."""
    ways: dict[tuple[HintMode, int], HintCell] = {}
    for cell in cells:  # for each way to ask, the cell that replaces comes first
        replaced = ways.get(cell.way)
        if cell.failed < len(cell.answers) and (replaced is None or is_weighing_better(cell.right, replaced.right)):
            ways[cell.way] = cell
    candidates = list(ways.values())
    costs = costs_of(candidates)
    best = candidates[cheapest_unless_better(costs, [cell.right for cell in candidates])]
    cheapest = candidates[int(np.argmin(costs))]
    return best, None if best is cheapest else Comparison.of(best.right, cheapest.right)
