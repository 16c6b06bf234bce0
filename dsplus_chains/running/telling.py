"""What goes wrong without an error is told once, by the standard library's logging."""

from __future__ import annotations

import logging

from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import hide_secrets, visible

LOGGER = logging.getLogger("dsplus_chains")
"""Silent unless the app configures logging, but for warnings, which Python prints by itself."""

_MOST = 1000
_told: set[tuple[str, ...]] = set()
_lock = ForkLock()


def tell_once(message: str, *key: str) -> None:
    """Log a warning, unless the same was told in this process before.

    Args:
        message: What to tell.
        *key: What makes two warnings the same; the message itself if there is none.
    """
    with _lock:
        same = key or (message,)
        if same in _told:
            return
        if len(_told) >= _MOST:
            _told.clear()  # a process that runs for months must not collect them
        _told.add(same)
    LOGGER.warning("%s", visible(hide_secrets(message)))
