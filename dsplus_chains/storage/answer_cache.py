"""`SQLiteAnswerCache`: keeps a chat model's answers in a file, so that each is paid for only once."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, messages_from_dict, messages_to_dict
from langchain_core.outputs import ChatGeneration, Generation
from pydantic_core import to_jsonable_python
from typing_extensions import override

from dsplus_chains.schema import InvalidInputError, describe_error, hash_of_text, what_came
from dsplus_chains.storage.sqlite_file import SQLiteFile

LARGEST = 64 << 20
"""Most bytes of an answer that is kept."""
_SETUP = (
    "PRAGMA journal_mode = WAL",  # readers do not wait for a writer
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, messages TEXT NOT NULL)",
)
_USELESS = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}

_logger = logging.getLogger("dsplus_chains")


def remembering(model: Any, cache: BaseCache) -> BaseChatModel:
    """A copy of a chat model that keeps its answers in a cache.

    Args:
        model: The chat model itself. A wrapper of LangChain around one would not hand the cache on.
        cache: The cache.

    Raises:
        InvalidInputError: It is no chat model.
    """
    if not isinstance(model, BaseChatModel):
        msg = (
            f"Got {what_came(model)} as the large model, but expected a chat model itself, whose answers can be kept. "
            "In place of with_retry() give it max_retries=, and in place of bind(stop=...) its own setting"
        )
        raise InvalidInputError(msg)
    return model.model_copy(update={"cache": cache})


class SQLiteAnswerCache(BaseCache):
    """A LangChain cache of chat models' answers in one SQLite file, for use as ``ChatOpenAI(..., cache=cache)``.

    The key is a hash of the whole prompt and of the model's settings. So a changed prompt or temperature is asked
    again. LangChain names a pydantic class in a model's settings by its module and name, without its fields. If a class
    changes that ``with_structured_output`` gets, clear the cache, or give its JSON schema (``model_json_schema()``) in
    its place. Tokens and log-probabilities are kept with the answer. The file holds the answers, but not the prompts.
    Several threads and processes may share one file, forked ones too. Its content is read as messages and nothing else.

    The cache never costs an answer. If it cannot keep one, it loses that entry. If it cannot read one, the model is
    asked. The first failure of each kind is logged as a warning of the logger "dsplus_chains".

    Args:
        path: The file. It is made if it is missing. ":memory:" keeps the answers as long as the cache lives.

    Raises:
        InvalidInputError: The file is not an SQLite file, cannot be opened, or is the database of another program.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> cache = SQLiteAnswerCache(":memory:")  # a file's name, to keep the answers
        >>> model = FakeListChatModel(responses=["first", "second"], cache=cache)
        >>> model.invoke("hello").text, model.invoke("hello").text, model.invoke("goodbye").text
        ('first', 'first', 'second')
        >>> cache.close()
    """

    def __init__(self, path: str | Path) -> None:
        self._file = SQLiteFile(path, setup=_SETUP, largest=LARGEST)
        self._told: set[str] = set()
        try:
            self._file.run("SELECT 1")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _USELESS:
                msg = f"Got cache file {str(path)!r}, which cannot be opened ({error}); name another file"
                raise InvalidInputError(msg) from error
            self._tell("be opened", error)

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        try:
            found = self._file.run("SELECT messages FROM answers WHERE key = ?", (_key(prompt, llm_string),))
            return _read(found[0][0]) if found else None
        except Exception as error:  # whatever it is, the model can be asked
            self._tell("read an answer, so the model is asked", error)
            return None

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        messages = [value.message for value in return_val if isinstance(value, ChatGeneration)]
        if not messages or len(messages) < len(return_val):
            return  # an old completion model's answer is no message
        try:
            row = _key(prompt, llm_string), json.dumps(messages_to_dict(messages), default=_plain)
            self._file.run("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)
        except Exception as error:  # whatever it is, the answer has been paid for
            self._tell("keep an answer, so it will be asked for again", error)

    @override
    def clear(self, **kwargs: Any) -> None:
        self._file.run("DELETE FROM answers")

    def __len__(self) -> int:
        """How many answers are in the file."""
        return int(self._file.run("SELECT count(*) FROM answers")[0][0])

    def __bool__(self) -> bool:
        """True also for an empty cache, because langchain-core before 1.5 asks ``if cache``."""
        return True

    def close(self) -> None:
        """Close the file. All answers are in it already."""
        self._file.close()

    def _tell(self, what: str, error: Exception) -> None:
        if what not in self._told:
            self._told.add(what)
            _logger.warning("The answer cache %s could not %s: %s", self._file.path, what, describe_error(error))


def _key(prompt: str, llm_string: str) -> str:
    return hash_of_text(f"{llm_string}\0{prompt}")


def _plain(value: Any) -> Any:
    """What JSON has no form for, as providers put it beside an answer. It is a time, a parsed object, bytes."""
    return to_jsonable_python(value, serialize_unknown=True, bytes_mode="base64")


def _read(packed: str) -> list[Generation]:
    """The messages of a row.

    Raises:
        ValueError: It holds something else.
    """
    messages = messages_from_dict(json.loads(packed))
    if not messages or not all(isinstance(message, AIMessage) for message in messages):
        msg = "got a row that holds no answers of a chat model"
        raise ValueError(msg)
    return [ChatGeneration(message=message) for message in messages]
