"""Experience as a table for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dsplus_chains.learning.experience import Experience
from dsplus_chains.schema import canonical_text
from dsplus_chains.tables.typed_files import write_parquet

_AS_THEY_ARE = (
    "time",
    "text",
    "text_hash",
    "large_confidence",
    "rationale",
    "source",
    "tokens",
    "model_hash",
    "task_hash",
    "gold_origin",
)


def write_experience(path: Path, rows: Iterable[Experience]) -> None:
    """Write rows into a Parquet file, whole or not at all.

    Raises:
        TableError: pyarrow is not installed.
    """
    columns: dict[str, list[Any]] = {name: [] for name in (*_AS_THEY_ARE, "probabilities", "confidence", "fused")}
    labels: dict[str, list[Any]] = {name: [] for name in ("label", "large", "answer", "gold")}
    for row in rows:
        for name in _AS_THEY_ARE:
            columns[name].append(getattr(row, name))
        small = row.prediction
        columns["confidence"].append(None if small is None else small.confidence)
        columns["probabilities"].append(None if small is None else _as_json(small.probabilities))
        columns["fused"].append(_as_json(row.fused))
        labels["label"].append(None if small is None else small.label)
        for name in ("large", "answer", "gold"):
            labels[name].append(getattr(row, name))
    write_parquet(path, {**columns, **{name: _one_type(column) for name, column in labels.items()}})


def _one_type(values: list[Any]) -> list[Any]:
    """A column of labels as it is if all have one type, else as texts."""
    types = {type(value) for value in values if value is not None}
    if len(types) <= 1 and types <= {str, int, bool}:
        return values
    return [None if value is None else str(canonical_text(value)) for value in values]


def _as_json(probabilities: Mapping[Any, float] | None) -> str | None:
    """Probabilities by the text of their label."""
    if probabilities is None:
        return None
    return json.dumps({str(label): probability for label, probability in probabilities.items()}, ensure_ascii=False)
