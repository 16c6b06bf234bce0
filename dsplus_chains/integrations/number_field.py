"""Which numbers a field of an app's output may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from dsplus_chains.integrations.output_field import output_fields
from dsplus_chains.integrations.part_schema import key_of, part_of


def fitting(scorer: Any, target: Any, name: str) -> Any:
    """The small model for the numbers that a field may hold. One that is not about numbers is left as it is.

    Args:
        scorer: A small model. One of numbers can be bounded (`NumberScorer.bounded`).
        target: What the app answers with. See `part_of`.
        name: The field.

    Raises:
        InvalidInputError: The model knows no number that the field may hold.
    """
    if not hasattr(scorer, "bounded"):
        return scorer
    part = part_of(target, [name])
    is_model = isinstance(target, type) and issubclass(target, BaseModel)
    schema = part.model_json_schema() if is_model else part
    key = key_of(name, target.model_fields[name]) if is_model else name
    told = _number_in(schema.get("properties", {}).get(key, {}))
    return scorer if told is None else scorer.bounded(**bounds_of(told))


def fitting_output(scorer: Any, output: Any, read: Any) -> Any:
    """The small model for the numbers that an app may answer with, alone or in one field. See `fitting`.

    Args:
        scorer: A small model.
        output: What the app answers with.
        read: Which field stands for the answer, where there are several.
    """
    fields = list(output_fields(output) or ())
    named = [read] if read in fields else fields
    if not hasattr(scorer, "bounded") or (output is not int and len(named) != 1):
        return scorer
    return scorer.bounded(whole=True, low=-np.inf, high=np.inf) if output is int else fitting(scorer, output, named[0])


def bounds_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds in the JSON schema of a number, and whether it is whole. An excluded bound is just not reached.

    Example:
        >>> bounds_of({"type": "integer", "minimum": 1, "maximum": 5})
        {'whole': True, 'low': 1.0, 'high': 5.0}
    """
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lows = [schema.get("minimum", -np.inf), *([] if over is None else [np.nextafter(over, np.inf)])]
    highs = [schema.get("maximum", np.inf), *([] if under is None else [np.nextafter(under, -np.inf)])]
    return {"whole": schema.get("type") == "integer", "low": float(max(lows)), "high": float(min(highs))}


def _number_in(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a number, which may also be missing, or whole. None if it is no number."""
    parts = [schema, *schema.get("anyOf", ())]
    found = [part for part in parts if part.get("type") in {"integer", "number"} and "enum" not in part]
    return min(found, key=lambda part: part["type"] == "integer", default=None)
