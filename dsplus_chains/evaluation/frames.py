"""Results as data frames of pandas. Needs the extra `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def as_frame(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str], index: str | None = None) -> Any:
    """A data frame of these rows. It has the columns even if there is no row.

    Args:
        rows: The rows, by column.
        columns: The columns, in order.
        index: The column that names the rows.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        msg = "Got no pandas but expected it for data frames; install the extra `report`"
        raise ImportError(msg) from error
    frame = pandas.DataFrame(list(rows), columns=list(columns))
    return frame if index is None else frame.set_index(index)
