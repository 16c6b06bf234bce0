"""Tells of rows that a model was fitted or tuned on before, because figures on them are too good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsplus_chains.schema import share
from dsplus_chains.scoring.seen_texts import SeenTexts


def overlap_of(records: Sequence[Mapping[str, Any]], tuned_on: SeenTexts | None) -> tuple[str, ...]:
    """What to tell of records to evaluate on, in sentences. There are none if all rows are new.

    Args:
        records: The records of a chain. A prediction tells whether its model was fitted on the text.
        tuned_on: The texts that the threshold was tuned on, if they are known.

    Example:
        >>> overlap_of([{"input": "a b"}, {"input": "c"}], SeenTexts.of(["A, b!"]))
        ('1 of 2 rows (50.0 %) were tuned on, so the figures are too good; evaluate on other rows',)
    """
    fitted = sum(
        any(prediction.training == "seen" for prediction in (*record.get("tiers", ()), record["prediction"]))
        for record in records
        if "prediction" in record
    )
    known = [record["input"] for record in records if "input" in record]
    tuned = 0 if tuned_on is None else sum(tuned_on.has(known))
    return tuple(
        f"{number} of {len(records)} rows ({share(number / len(records))}) were {what}, so the figures are too good; "
        "evaluate on other rows"
        for number, what in ((fitted, "fitted on by a small model"), (tuned, "tuned on"))
        if number
    )
