"""Progress of long work, for whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # commands report progress, and must start quickly
    from langchain_core.runnables import Runnable, RunnableConfig


class Progress(Protocol):
    """A function that gets reports of work under way."""

    def __call__(self, title: str, done: int, total: int, note: str = "") -> None:
        """Take in the work's title, how much of it is done, how much there is in all, and a note."""


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
    check: Callable[[], None] | None = None,
) -> list[Any]:
    """A Runnable's outputs for many inputs, computed batch by batch.

    Args:
        run: Any Runnable.
        inputs: The inputs, any number of them.
        title: Name of the work.
        progress: Function that is called after each batch.
        config: Config of the calls.
        batch_size: Number of inputs in a batch.
        check: Function that is called after each batch, and may raise to stop.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> in_batches(RunnableLambda(str.upper), ["a", "b"], title="Shouting", batch_size=1)
        ['A', 'B']
    """
    results: list[Any] = []
    for start in range(0, len(inputs), batch_size):
        results += run.batch(list(inputs[start : start + batch_size]), config)
        if check is not None:
            check()
        if progress is not None:
            progress(title, len(results), len(inputs))
    return results
