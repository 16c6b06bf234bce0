"""`PulledStream`: a stream that is read in a thread, so that whoever waits for a chunk can stop waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

END: Any = object()
"""What comes after the last chunk of a stream."""


class PulledStream:
    """Chunks of an iterator, each waited for no longer than one likes.

    The thread reads a chunk when it is asked for, and no chunk ahead. It is a daemon: a stream that hangs does not keep
    the process.

    Args:
        stream: Any iterator.

    Example:
        >>> pulled = PulledStream(iter("ab"))
        >>> pulled.pull(1), pulled.pull(1), pulled.pull(1) is END
        ('a', 'b', True)
    """

    def __init__(self, stream: Iterator[Any]) -> None:
        self._stream = stream
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self._chunks: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        threading.Thread(target=copy_context().run, args=(self._read,), daemon=True).start()

    def pull(self, timeout: float) -> Any:
        """The next chunk, or `END`.

        Args:
            timeout: How many seconds to wait.

        Raises:
            TimeoutError: There is no chunk by then.
        """
        self._wanted.put(True)
        try:
            chunk, error = self._chunks.get(timeout=timeout)
        except Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return chunk

    def close(self) -> None:
        """Close the stream, once it has given the chunk that it is at."""
        self._wanted.put(False)

    def _read(self) -> None:
        while self._wanted.get():
            try:
                self._chunks.put((next(self._stream, END), None))
            except BaseException as error:  # whoever waits raises it
                self._chunks.put((None, error))
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()
