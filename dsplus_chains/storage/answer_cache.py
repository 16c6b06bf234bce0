"""`SQLiteAnswerCache`: keeps a chat model's answers in a file, so that each is paid for only once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.messages import messages_from_dict, messages_to_dict
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from dsplus_chains.schema import InvalidInputError, hash_of_text


class SQLiteAnswerCache(BaseCache):
    """A LangChain cache of chat models' answers in one SQLite file, for use as ``ChatOpenAI(..., cache=cache)``.

    The key is a hash of the whole prompt and of the model's settings. So a changed prompt or temperature is asked
    again. Tokens and log-probabilities are kept with the answer. The file holds the answers, but not the prompts.
    Several threads and processes may share one file. Its content is read as messages and nothing else.

    Args:
        path: The file. It is made if it is missing. ":memory:" keeps the answers as long as the cache lives.

    Raises:
        InvalidInputError: The file is not an SQLite file, or cannot be opened.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> cache = SQLiteAnswerCache(":memory:")  # a file's name, to keep the answers
        >>> model = FakeListChatModel(responses=["first", "second"], cache=cache)
        >>> model.invoke("hello").text, model.invoke("hello").text, model.invoke("goodbye").text
        ('first', 'first', 'second')
        >>> cache.close()
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = Lock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, messages TEXT NOT NULL)")
        except sqlite3.Error as error:
            msg = f"Got cache file {str(path)!r}, which cannot be opened ({error}); name another file"
            raise InvalidInputError(msg) from error

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        with self._lock:
            found = self._database.execute(
                "SELECT messages FROM answers WHERE key = ?", (_key(prompt, llm_string),)
            ).fetchone()
        if found is None:
            return None
        return [ChatGeneration(message=message) for message in messages_from_dict(json.loads(found[0]))]

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        messages = [value.message for value in return_val if isinstance(value, ChatGeneration)]
        if not messages or len(messages) < len(return_val):
            return  # an old completion model's answer is no message
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)",
                (_key(prompt, llm_string), json.dumps(messages_to_dict(messages))),
            )

    @override
    def clear(self, **kwargs: Any) -> None:
        with self._lock:
            self._database.execute("DELETE FROM answers")

    def __len__(self) -> int:
        """How many answers are in the file."""
        with self._lock:
            (count,) = self._database.execute("SELECT count(*) FROM answers").fetchone()
        return int(count)

    def __bool__(self) -> bool:
        """True also for an empty cache, because langchain-core before 1.5 asks ``if cache``."""
        return True

    def close(self) -> None:
        """Close the file. All answers are in it already."""
        self._database.close()


def _key(prompt: str, llm_string: str) -> str:
    return hash_of_text(f"{llm_string}\0{prompt}")
