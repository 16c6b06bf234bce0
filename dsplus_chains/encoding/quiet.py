"""Loads weights without writing to the user's terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as logging_of_transformers

logging: Any = logging_of_transformers  # it has no types


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Load weights without a progress bar, because a library does not write to the user's terminal."""
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
