"""The answer cache: nothing is asked twice, nothing is lost of an answer, nothing is confused."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clock import at_most
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel, SecretStr

from dsplus_chains.schema import InvalidInputError
from dsplus_chains.storage import sqlite_file
from dsplus_chains.storage.answer_cache import LARGEST, SQLiteAnswerCache

TOLD = AIMessage(
    "negative",
    usage_metadata={"input_tokens": 90, "output_tokens": 2, "total_tokens": 92},
    response_metadata={"logprobs": {"content": [{"token": "negative", "logprob": -0.1}]}},
)


def asking(cache: SQLiteAnswerCache, *answers: AIMessage) -> Any:
    return GenericFakeChatModel(messages=iter(answers), cache=cache)


def ours(caplog: Any) -> list[str]:
    """What this package has logged. Objects of other tests may complain when they are collected."""
    return [record.getMessage() for record in caplog.records if record.name == "dsplus_chains"]


def test_an_answer_is_paid_for_once_and_comes_back_whole_from_the_file(tmp_path: Path) -> None:
    first = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    asking(first, TOLD).invoke("It broke.")
    first.close()

    again = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    answer = asking(again).invoke("It broke.")  # a model that has nothing to say

    assert answer.text == "negative"
    assert answer.usage_metadata["total_tokens"] == 92
    assert answer.response_metadata == TOLD.response_metadata
    assert len(again) == 1
    again.close()


@pytest.mark.parametrize("asked", [("another prompt", "model"), ("prompt", "another model"), ("prompt\0", "model")])
def test_another_prompt_or_model_is_asked_anew(asked: tuple[str, str]) -> None:
    cache = SQLiteAnswerCache(":memory:")
    cache.update("prompt", "model", [ChatGeneration(message=TOLD)])
    assert cache.lookup(*asked) is None
    assert cache.lookup("prompt", "model") is not None
    cache.close()


async def test_async_clear_and_what_is_no_message() -> None:
    cache = SQLiteAnswerCache(":memory:")
    cache.update("prompt", "model", [Generation(text="an old completion model's")])
    assert cache.lookup("prompt", "model") is None
    await cache.aupdate("prompt", "model", [ChatGeneration(message=TOLD), ChatGeneration(message=AIMessage("no"))])
    found = await cache.alookup("prompt", "model")
    assert found is not None
    assert [generation.text for generation in found] == ["negative", "no"]
    cache.clear()
    assert len(cache) == 0
    cache.close()


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and no database.\n" * 50)
    with pytest.raises(InvalidInputError, match=r"notes\.txt.*name another file"):
        SQLiteAnswerCache(path)
    assert path.read_text().startswith("These are my notes")


class Parsed(BaseModel):
    label: str


LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]

BESIDE = {
    "a time": (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    "a parsed object": (Parsed(label="negative"), {"label": "negative"}),
    "bytes": (b"\xff\xfe", "__4="),
    "a decimal": (Decimal("0.1"), "0.1"),
    "half of a character": ("\ud83d", "\ud83d"),
    "an infinite logprob": (float("-inf"), float("-inf")),
    "a secret": (SecretStr("sk-1"), "**********"),
    "a tuple": ((1, 2), [1, 2]),
    "a set": ({1}, [1]),
    "an exception": (ValueError("x"), "x"),
}
"""What a provider may put beside an answer, and what comes back."""


@pytest.mark.parametrize("kind", BESIDE)
def test_what_json_has_no_form_for_is_kept_as_plain_data(kind: str, caplog: Any) -> None:
    cache = SQLiteAnswerCache(":memory:")
    given_, back = BESIDE[kind]
    answer = asking(cache, AIMessage("no", response_metadata={"x": given_})).invoke("It broke.")
    assert answer.text == "no"
    again = asking(cache).invoke("It broke.")
    assert (again.text, again.response_metadata["x"]) == ("no", back)
    assert not ours(caplog)


@pytest.mark.parametrize("beside", [{(1, 2): 3}, LOOP, DEEP, "x" * (LARGEST + 1)], ids=["keys", "loop", "deep", "huge"])
def test_what_cannot_be_kept_costs_the_entry_and_is_told_once(beside: Any, caplog: Any) -> None:
    cache = SQLiteAnswerCache(":memory:")
    message = AIMessage("no", response_metadata={"x": beside})
    for _ in range(3):
        cache.update("It broke.", "model", [ChatGeneration(message=message)])
        assert cache.lookup("It broke.", "model") is None
    (told,) = ours(caplog)
    assert "could not keep an answer" in told
    assert len(told) < 2000


def test_an_answer_of_10_mb_is_kept_whole_and_soon() -> None:
    cache = SQLiteAnswerCache(":memory:")
    text = "negative \N{SNOWMAN} " * 900_000
    with at_most(5):
        cache.update("prompt", "model", [ChatGeneration(message=AIMessage(text))])
        found = cache.lookup("prompt", "model")
        assert found is not None
        assert found[0].text == text


def lock(path: Path, cache: SQLiteAnswerCache, kind: str) -> Any:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute(f"BEGIN {kind}")
    return other


def wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


HARMS = {
    "closed": lambda path, cache: cache.close(),
    "full": lambda path, cache: cache._file.run("PRAGMA max_page_count = 1"),
    "read-only": lambda path, cache: cache._file.run("PRAGMA query_only = ON"),
    "locked": lambda path, cache: lock(path, cache, "IMMEDIATE"),
    "without its table": lambda path, cache: cache._file.run("DROP TABLE answers"),
    "with another table": lambda path, cache: cache._file.run("ALTER TABLE answers RENAME COLUMN messages TO m"),
    "overwritten": lambda path, cache: [file.write_bytes(b"no database" * 9999) for file in (path, wal_of(path))],
    "emptied": lambda path, cache: [os.truncate(file, 0) for file in (path, wal_of(path))],
    "half gone": lambda path, cache: os.truncate(path, path.stat().st_size // 2),
    "too large": lambda path, cache: cache._file._connected().setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 40),
}
"""What may happen to a file while it is used."""


@pytest.mark.parametrize("harm", HARMS)
async def test_whatever_happens_to_the_file_the_answer_stands(harm: str, tmp_path: Path, caplog: Any, monkeypatch: Any):
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.1)
    path = tmp_path / "answers.sqlite"
    cache = SQLiteAnswerCache(path)
    asking(cache, TOLD).invoke("It broke.")
    kept = HARMS[harm](path, cache)
    answers = [AIMessage(f"answer {number} " * 2000) for number in range(4)]
    model = asking(cache, *answers)
    assert model.invoke("one").text == answers[0].text
    assert (await model.ainvoke("two")).text == answers[1].text
    assert model.invoke("It broke.").text in {"negative", answers[2].text}
    assert model.invoke("It broke.").text in {"negative", answers[2].text, answers[3].text}
    told = ours(caplog)
    assert len(told) == len({text.split(":")[0] for text in told}) <= 2, "each kind of failure is told once"
    assert told or harm in {"overwritten", "emptied", "half gone"}  # SQLite may have its pages in memory still
    del kept


@pytest.mark.parametrize("kept", [100, 2000, 5000])
def test_a_damaged_file_costs_no_answer(kept: int, tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "answers.sqlite"
    first = SQLiteAnswerCache(path)
    asking(first, TOLD).invoke("It broke.")
    first.close()
    path.write_bytes(path.read_bytes()[:kept] + os.urandom(20_000))
    cache = SQLiteAnswerCache(path)
    model = asking(cache, AIMessage("one"), AIMessage("two"))
    assert [model.invoke("It broke.").text, model.invoke("Again.").text] in (["one", "two"], ["negative", "one"])
    assert ours(caplog)


ROWS = {
    "no JSON": "{",
    "a number": "7",
    "no list": '{"type": "ai"}',
    "an empty list": "[]",
    "no type": '[{"data": {"content": "x"}}]',
    "another type": '[{"type": "human", "data": {"content": "x"}}]',
    "an unknown type": '[{"type": "os.system", "data": {"content": "x"}}]',
    "no content": '[{"type": "ai", "data": {}}]',
    "wrong content": '[{"type": "ai", "data": {"content": 7}}]',
    "a constructor": '{"lc": 1, "type": "constructor", "id": ["langchain_core", "AIMessage"], "kwargs": {}}',
    "very deep": "[" * 200_000,
    "bytes": b"\xff\xfe",
    "nothing": "",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_holds_no_answer_is_a_miss_and_is_replaced(row: str, caplog: Any) -> None:
    cache = SQLiteAnswerCache(":memory:")
    cache.update("prompt", "model", [ChatGeneration(message=TOLD)])
    cache._file.run("UPDATE answers SET messages = ?", (ROWS[row],))
    assert cache.lookup("prompt", "model") is None
    assert cache.lookup("prompt", "model") is None
    assert len(ours(caplog)) == 1
    cache.update("prompt", "model", [ChatGeneration(message=TOLD)])
    assert cache.lookup("prompt", "model") == [ChatGeneration(message=TOLD)]


def test_a_disk_that_is_full_costs_no_answer(tmp_path: Path) -> None:
    code = """
import resource, sys
from langchain_core.language_models import FakeListChatModel
from dsplus_chains import SQLiteAnswerCache
cache = SQLiteAnswerCache(sys.argv[1])
model = FakeListChatModel(responses=["first " * 9999, "second " * 9999], cache=cache)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
print([model.invoke("one").text[:5], model.invoke("two").text[:6], len(cache)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.sqlite")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['first', 'second', 0]\n"
    assert done.stderr.count("could not keep an answer") == 1


def test_who_waits_for_a_locked_file_keeps_nobody_else_waiting(tmp_path: Path, monkeypatch: Any) -> None:
    turned_away, go = threading.Event(), threading.Event()

    def pause(_seconds: float) -> None:
        turned_away.set()
        go.wait(60)

    monkeypatch.setattr(sqlite_file, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=pause))
    cache = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    cache.update("kept", "model", [ChatGeneration(message=TOLD)])
    other = lock(tmp_path / "answers.sqlite", cache, "IMMEDIATE")
    waiting = threading.Thread(target=cache.update, args=("new", "model", [ChatGeneration(message=TOLD)]))
    waiting.start()
    assert turned_away.wait(60)
    assert cache.lookup("kept", "model") is not None
    assert waiting.is_alive()
    other.execute("COMMIT")
    go.set()
    waiting.join(60)
    assert cache.lookup("new", "model") is not None, "what waited is kept in the end"


def test_a_file_that_stays_locked_is_waited_for_once(tmp_path: Path, monkeypatch: Any) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(sqlite_file, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append))
    cache = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    other = lock(tmp_path / "answers.sqlite", cache, "IMMEDIATE")
    for number in range(50):
        assert cache.lookup(f"{number}", "model") is None
        cache.update(f"{number}", "model", [ChatGeneration(message=TOLD)])
    assert sum(pauses) == pytest.approx(sqlite_file.PATIENCE, abs=0.1)
    other.execute("COMMIT")
    cache.update("later", "model", [ChatGeneration(message=TOLD)])
    assert len(cache) == 1


def test_a_file_that_is_locked_when_it_is_opened_is_used_later(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.1)
    SQLiteAnswerCache(tmp_path / "answers.sqlite").close()
    other = sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    cache = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    assert "could not be opened" in caplog.text
    assert asking(cache, TOLD).invoke("It broke.").text == "negative"
    other.execute("COMMIT")
    other.close()
    asking(cache, TOLD).invoke("It broke.")
    assert asking(cache).invoke("It broke.").text == "negative"


@given(st.text(st.characters(codec=None), max_size=5), st.text(st.characters(codec=None), max_size=5))
@settings(max_examples=200)
def test_two_prompts_never_share_an_answer(one: str, other: str) -> None:
    from dsplus_chains.storage.answer_cache import _key

    assert (_key(one, "model") == _key(other, "model")) == (one == other)
    assert _key("\ud83d", "model") != _key("?", "model")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_processes_share_a_file(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from dsplus_chains import SQLiteAnswerCache
from dsplus_chains.storage import sqlite_file
sqlite_file.PATIENCE = 600.0
cache = SQLiteAnswerCache(sys.argv[1])
cache.update("kept", "model", [ChatGeneration(message=AIMessage("kept"))])
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        signal.alarm(600)
        for number in range(25):
            cache.update(f"{child} {number}", "model", [ChatGeneration(message=AIMessage("x"))])
        sys.exit(cache.lookup("kept", "model") is None)
    children.append(pid)
for number in range(25):
    cache.update(f"parent {number}", "model", [ChatGeneration(message=AIMessage("x"))])
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children], len(cache))
print(cache._file.run("PRAGMA integrity_check"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.sqlite")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0, 0, 0, 0] 126\n[('ok',)]\n"
    assert not done.stderr


def test_what_is_kept_is_plain_json(tmp_path: Path) -> None:
    cache = SQLiteAnswerCache(tmp_path / "answers.sqlite")
    asking(cache, TOLD).invoke("It broke.")
    with sqlite3.connect(tmp_path / "answers.sqlite") as database:
        ((row,),) = database.execute("SELECT messages FROM answers").fetchall()
    database.close()
    assert json.loads(row)[0]["data"]["content"] == "negative"
