"""Reads the scores of several models, in whatever table they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import TrainingDataError, clean_answers, shown, what_came


def score_table(scores: Any, names: Sequence[str], *, n: int) -> NDArray[np.float64]:
    """The scores as an array of shape [n, models], NaN where a score is missing.

    Args:
        scores: A dict or a data frame with one column a model, or a list with one dict a row. Or an array, with its
            columns in the order of the models.
        names: The names of the models.
        n: The number of rows.

    Raises:
        TrainingDataError: A model has no scores at all, the number of rows is another, or a score is no number.

    Example:
        >>> score_table([{"a": 1, "b": 0.5}, {"a": 0}], ["a", "b"], n=2).tolist()
        [[1.0, 0.5], [0.0, nan]]
    """
    if hasattr(scores, "shape") and not hasattr(scores, "columns"):
        table = np.asarray(scores)
        if table.shape != (n, len(names)):
            msg = f"Got scores of shape {table.shape} but expected {n} rows and {len(names)} models"
            raise TrainingDataError(msg)
        columns = {name: table[:, number].tolist() for number, name in enumerate(names)}
    elif isinstance(scores, Mapping) or hasattr(scores, "columns"):
        columns = {name: scores[name] for name in names if name in scores}
    elif isinstance(scores, Sequence) and all(isinstance(row, Mapping) for row in scores):
        columns = {name: [row.get(name) for row in scores] for name in names}
    else:
        msg = f"Got scores={what_came(scores)} but expected one column a model, or one dict a row"
        raise TrainingDataError(msg)
    found = np.full((n, len(names)), np.nan)
    for number, name in enumerate(names):
        cells = clean_answers(columns.get(name, []), f"scores of {name!r}")
        if len(cells) != n or all(cell is None for cell in cells):
            told = f"{len(cells)} scores" if len(cells) != n else "no score"
            msg = f"Got {told} of {name!r} for {n} texts but expected one each, or a missing value"
            raise TrainingDataError(msg)
        found[:, number] = [_number(cell, name) for cell in cells]
    return found


def _number(cell: Any, name: str) -> float:
    if cell is None:
        return float("nan")
    if not isinstance(cell, (int, float)) or not np.isfinite(cell):
        msg = f"Got the score {shown(cell)} of {name!r} but expected a number"
        raise TrainingDataError(msg)
    return float(cell)
