"""Calls over connections of an event loop that is closed. Chat models keep their connections for the next loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from dsplus_chains.schema import causes

AGAIN = 100
"""How often a call is made again. Each one that fails drops a connection, and a client keeps so many."""


async def renewed(opened: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """A stream that is opened again where it met a connection of a closed event loop before its first chunk.

    Args:
        opened: The function that opens it.
    """
    for again in reversed(range(AGAIN + 1)):
        stream = opened()
        started = False
        try:
            async for chunk in stream:
                started = True
                yield chunk
        except Exception as error:
            if started or not again or not is_stale(error):
                raise
        else:
            return
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()


def is_stale(output: Any) -> bool:
    """Whether a call met a connection of an event loop that is closed, so that no answer could come back.

    Chat models keep their connections, and hand them to the next loop. Each one that fails is dropped. An app without
    a shunt fails there.
    """
    found = causes(output) if isinstance(output, Exception) else ()  # a provider's client may have wrapped it
    return any(isinstance(error, RuntimeError) and str(error) == "Event loop is closed" for error in found)
