"""Mappings as pairs, because a JSON object cannot have numbers or booleans as keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_pairs(mapping: Mapping[Any, Any] | None) -> list[list[Any]] | None:
    """A mapping as pairs, for JSON.

    Example:
        >>> as_pairs({1: "low", 5: "high"}), as_pairs(None)
        ([[1, 'low'], [5, 'high']], None)
    """
    return None if mapping is None else [[key, value] for key, value in mapping.items()]


def from_pairs(value: Any) -> Any:
    """A mapping back from its pairs. Anything else, such as a mapping, is returned unchanged.

    Example:
        >>> from_pairs([[1, "low"]]), from_pairs({1: "low"})
        ({1: 'low'}, {1: 'low'})
    """
    is_pairs = isinstance(value, list) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value)
    return dict(value) if is_pairs else value
