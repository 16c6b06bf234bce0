"""Progress: whoever waits is told how far long work is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.runnables import Runnable, RunnableConfig


class Progress(Protocol):
    """Told of work under way."""

    def __call__(self, title: str, done: int, total: int, note: str = "") -> None:
        """Take in what the work is, how much of it is done out of how much, and what else there is to say."""


BATCH_SIZE = 64
"""Rows in one call of the small model, and in one batch of the large one."""


def in_batches(
    run: Runnable[Any, Any],
    inputs: Sequence[Any],
    *,
    title: str,
    progress: Progress | None = None,
    config: RunnableConfig | None = None,
    batch_size: int = BATCH_SIZE,
) -> list[Any]:
    """What a Runnable makes of many inputs, batch by batch.

    Args:
        run: Any Runnable.
        inputs: As many as there are.
        title: What the work is called.
        progress: Told after each batch.
        config: Of the calls.
        batch_size: How many inputs a batch has.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> in_batches(RunnableLambda(str.upper), ["a", "b"], title="Shouting", batch_size=1)
        ['A', 'B']
    """
    results: list[Any] = []
    for start in range(0, len(inputs), batch_size):
        results += run.batch(list(inputs[start : start + batch_size]), config)
        if progress is not None:
            progress(title, len(results), len(inputs))
    return results
