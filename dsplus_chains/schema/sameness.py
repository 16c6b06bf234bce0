"""`identity_of` is what decides whether two values are the same to whoever reads them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from pydantic import BaseModel

from dsplus_chains.schema.prediction import Prediction


def identity_of(value: Any) -> Hashable:
    """A key that two values share only if nobody who reads them can tell one from the other.

    Dicts, lists, tuples and pydantic objects count by what they hold. A prediction counts by its answer, since its
    numbers may differ in the last digits between two batches. Any other value that cannot be hashed is the same only as
    itself, so it has to live as long as the key.

    Args:
        value: Any value, such as a record or messages.

    Example:
        >>> identity_of({"turns": [("human", "It broke.")]}) == identity_of({"turns": [("human", "It broke.")]})
        True
        >>> identity_of({"stars": 1}) == identity_of({"stars": True})
        False
    """
    kind = type(value)
    if isinstance(value, Prediction):
        return kind, identity_of(value.label), identity_of(value.value)
    if isinstance(value, Mapping):
        return kind, tuple((identity_of(key), identity_of(held)) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(identity_of, value))
    if isinstance(value, BaseModel):
        return kind, tuple((name, identity_of(held)) for name, held in value)
    try:
        hash(value)
    except TypeError:
        return kind, id(value)
    return kind, value
