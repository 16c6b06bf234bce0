"""The table of solutions and tests, and the pair that explains most of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dsplus_chains.verifying.candidate_verdict import Verdict


class BestPair(NamedTuple):
    """The best solution of a table, and the share of the table that its best pair explains."""

    solution: int | None
    explained: float


def best_pair(passed: ArrayLike) -> BestPair:
    """The passing pair of a solution and a test that explains most of the table.

    A pair explains the tests that its solution passes, times the solutions that pass its test. The share is that
    product over the size of the table. So it is 1 if one solution passes all tests, and all pass one test. In a tie,
    the earlier solution wins. Without a passing pair, there is no solution and the share is 0.

    Args:
        passed: Whether each solution passes each test, of shape (n_solutions, n_tests).

    Source: Chen et al., "Model Cascading for Code" (arXiv 2405.15842), after CodeT (arXiv 2207.10397).

    Example:
        >>> best_pair([[1, 1, 0], [1, 1, 0], [0, 0, 1]])  # 2 tests passed, by 2 solutions, of 9
        BestPair(solution=0, explained=0.4444444444444444)
        >>> best_pair([[0], [0]])
        BestPair(solution=None, explained=0.0)
    """
    table = np.asarray(passed, dtype=np.bool_)
    if not table.any():
        return BestPair(None, 0.0)
    explained = np.outer(table.sum(axis=1), table.sum(axis=0)) * table
    solution, test = np.unravel_index(int(explained.argmax()), table.shape)
    return BestPair(int(solution), float(explained[solution, test]) / table.size)


def table_of(verdicts: Sequence[Verdict | None]) -> list[list[bool]]:
    """The table of several verdicts. A test that a verdict does not name counts as not passed.

    Args:
        verdicts: One for each solution. None where there is no solution, or none that could be checked.

    Example:
        >>> from dsplus_chains.verifying.candidate_verdict import as_verdict
        >>> table_of([as_verdict(True), None])
        [[True], [False]]
    """
    passed = [
        {check.name: check.status == "passed" for check in ([] if verdict is None else verdict.checks)}
        for verdict in verdicts
    ]
    names = dict.fromkeys(name for row in passed for name in row)
    return [[row.get(name, False) for name in names] for row in passed]
