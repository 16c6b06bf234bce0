"""What stands at a dotted path in an input or an output of an app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import InvalidInputError, what_came


def at_path(value: Any, path: str, *, how: str) -> Any:
    """What stands at a dotted path of keys, attributes and positions.

    Args:
        value: What is looked into.
        path: The path.
        how: What the user can do if there is nothing. An error tells it.

    Raises:
        InvalidInputError: There is nothing.

    Example:
        >>> at_path({"pages": [{"body": "hello"}]}, "pages.0.body", how="Say where it is")
        'hello'
    """
    return along(value, path, how=how)[-1]


def along(value: Any, path: str, *, how: str) -> list[Any]:
    """The value, and what stands at each step of a path. The last is what stands at its end. See `at_path`."""
    if isinstance(value, Mapping) and path in value:  # a key with a dot in it
        return [value, value[path]]
    steps = [value]
    for name in path.split("."):
        found = steps[-1]
        if isinstance(found, Mapping) and name in found:
            steps.append(found[name])
        elif isinstance(found, (list, tuple)) and name.lstrip("-").isdigit() and -len(found) <= int(name) < len(found):
            steps.append(found[int(name)])
        elif not isinstance(found, Mapping) and not name.startswith("_") and hasattr(found, name):
            steps.append(getattr(found, name))
        else:
            msg = f"Got {what_came(value)} but expected something at {path!r}, where {name!r} is missing. {how}"
            raise InvalidInputError(msg)
    return steps
