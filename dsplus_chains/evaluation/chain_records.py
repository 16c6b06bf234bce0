"""What `evaluate` reads in the records of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from langchain_core.messages.ai import UsageMetadata, add_usage

from dsplus_chains.evaluation.evaluation import ErrorRow
from dsplus_chains.schema import DEFERRED, InvalidInputError, Prediction, answered_label, as_cell, column_of, is_missing

NEEDED = ("prediction", "answer", "source")
"""The keys that a record must have."""


def checked_records(records: Any) -> list[Mapping[str, Any]]:
    """The records, without keys whose value is missing. A data frame fills every row with all keys.

    Raises:
        InvalidInputError: They are no column, or one is no record of a chain.
    """
    found: list[Mapping[str, Any]] = []
    for row, record in enumerate(column_of(records, "records")):
        missing = [key for key in NEEDED if not isinstance(record, Mapping) or key not in record]
        if missing:
            msg = f"Got {type(record).__name__} without {', '.join(missing)} in row {row} but expected a chain's record"
            raise InvalidInputError(msg)
        found.append({key: value for key, value in record.items() if key in NEEDED or not is_missing(value)})
    return found


def first_prediction(record: Mapping[str, Any]) -> Prediction:
    """What the small model said. With several tiers, this is the first, which saw every input."""
    tiers: list[Prediction] = record.get("tiers") or [record["prediction"]]
    return tiers[0]


def was_asked(record: Mapping[str, Any]) -> bool:
    """Whether a row has called a chat model, as `large`, for a plan or for a subtask."""
    return record.get("large") is not None or record["source"] in DEFERRED or bool(_callers(record))


def usage_of(record: Mapping[str, Any]) -> UsageMetadata | None:
    """The tokens of a row's calls. `large` counts them all. Without it, planning and subtasks are added up."""
    if record.get("large") is not None or record["source"] in DEFERRED:
        usage: UsageMetadata | None = getattr(record.get("large"), "usage", None)
        return usage
    usages = [caller.usage for caller in _callers(record)]
    return None if None in usages else reduce(add_usage, usages)


def _callers(record: Mapping[str, Any]) -> list[Any]:
    """What in a record has called chat models, beside `large`. It is the planning or the subtasks."""
    found = [record.get("planning"), *(record.get("subtasks") or {}).values()]
    return [each for each in found if getattr(each, "calls", 0)]


def error_row(row: int, record: Mapping[str, Any], label: Any) -> ErrorRow:
    """A row that was answered wrongly, with what both models said of it."""
    prediction, large = first_prediction(record), record.get("large")
    return ErrorRow(
        row=row,
        input=record.get("input"),
        label=label,
        answer=as_cell(answered_label(record)),
        source=str(record["source"]),
        small=prediction.label,
        confidence=prediction.confidence,
        large=None if large is None else as_cell(large.value),
        error=record.get("error"),
    )
