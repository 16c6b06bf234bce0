"""Calls over connections of an event loop that is closed. Chat models keep their connections for the next loop."""

from __future__ import annotations

from typing import Any

from dsplus_chains.schema import causes

AGAIN = 100
"""How often a call is made again. Each one that fails drops a connection, and a client keeps so many."""


def is_stale(output: Any) -> bool:
    """Whether a call met a connection of an event loop that is closed, so that no answer could come back.

    Chat models keep their connections, and hand them to the next loop. Each one that fails is dropped. An app without
    a shunt fails there.
    """
    found = causes(output) if isinstance(output, Exception) else ()  # a provider's client may have wrapped it
    return any(isinstance(error, RuntimeError) and str(error) == "Event loop is closed" for error in found)
