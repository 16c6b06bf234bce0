"""Interrupts: what ends a run from outside, and is neither an output nor a row's error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def raise_interrupts(outputs: Iterable[Any]) -> None:
    """Raise an interrupt, such as a cancellation, Ctrl-C or an exit.

    LangChain's ``batch(return_exceptions=True)`` returns whatever was raised, interrupts too.
    """
    for output in outputs:
        if is_interrupt(output):
            raise output


def is_interrupt(output: Any) -> bool:
    """Whether an output is an interrupt. So is what a graph of LangGraph raises to wait for a person, or to go on."""
    if not isinstance(output, Exception):
        return isinstance(output, BaseException)
    graph = sys.modules.get("langgraph.errors")  # who has not imported it cannot have raised it
    return graph is not None and isinstance(output, graph.GraphBubbleUp)
