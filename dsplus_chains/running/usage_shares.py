"""The tokens of one call that was made for several rows, shared out among them."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.messages.ai import UsageMetadata


def shared_out(usage: UsageMetadata | None, n: int) -> list[UsageMetadata | None]:
    """The share of each of `n` rows. The shares add up to the whole, and the first row has what is left over.

    Args:
        usage: The tokens of the call. None if it did not tell them.
        n: Number of rows, at least 1.

    Example:
        >>> usage = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
        >>> [share["total_tokens"] for share in shared_out(usage, 3)]
        [6, 4, 4]
    """
    if usage is None:
        return [None] * n
    return [cast("UsageMetadata", _share(usage, n, is_first=not row)) for row in range(n)]


def _share(told: Any, n: int, *, is_first: bool) -> Any:
    if isinstance(told, dict):
        return {name: _share(value, n, is_first=is_first) for name, value in told.items()}
    return told // n + (told % n if is_first else 0) if isinstance(told, int) else told
