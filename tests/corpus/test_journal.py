from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from dsplus_chains.corpus import AnsweredRow, Counts, Journal, JournalError
from dsplus_chains.corpus.answered import RunIdentity
from dsplus_chains.corpus.journal import replies_of
from dsplus_chains.corpus.journal_error import journal_error

OURS = RunIdentity(bundle="b", input="i", text="text", large="openai:m", server="http://localhost/v1")
SOURCES = ("small", "large", "fallback", "error")


def row(number, source="large", answer="positive"):
    failed = source in {"fallback", "error"}
    error = "TimeoutError: no answer" if failed else None
    answer = None if source == "error" else answer
    return AnsweredRow(row=number, answer=answer, source=source, confidence=0.5, error=error)


def reply(text, tokens=10):
    usage = {"input_tokens": tokens - 1, "output_tokens": 1, "total_tokens": tokens}
    return [ChatGeneration(message=AIMessage(text, usage_metadata=usage))]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.csv.journal.sqlite"


@pytest.mark.parametrize(
    ("deferred", "fallback", "tokens", "said"),
    [
        (4, 2, 30, "1 kept, 4 deferred (2 of them fallback), 30 tokens"),
        (2, 2, 0, "1 kept, 2 deferred (2 of them fallback), 0 tokens"),
        (2, 1, 0, "1 kept, 2 deferred (1 of them fallback), tokens unknown"),
    ],
)
def test_replies_of_a_model_that_does_not_tell_its_tokens_do_not_cost_nothing(deferred, fallback, tokens, said):
    assert str(Counts(kept=1, deferred=deferred, fallback=fallback, tokens=tokens)) == said


@settings(deadline=None, max_examples=40)  # it waits for the disk
@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(SOURCES)), max_size=8), max_size=8))
def test_it_holds_the_last_answer_to_each_row_and_counts_it_once(tmp_path_factory, batches):
    path, last = tmp_path_factory.mktemp("journal") / "j.sqlite", {}
    for batch in batches:  # each batch is written by a process of its own
        rows = list({number: row(number, source) for number, source in batch}.values())
        with Journal(path, OURS, labels=["positive"]) as journal:
            journal.commit(rows)
            last |= {one.row: one for one in rows}
            sources = [one.source for one in last.values()]
            assert journal.counts == Counts(
                kept=sources.count("small"),
                deferred=len(sources) - sources.count("small"),
                fallback=sources.count("fallback") + sources.count("error"),
            )
            assert len(journal) == len(last)
            assert list(journal.answers()) == [last[number] for number in sorted(last)]
            assert list(journal.pending(31, retry_fallbacks=False)) == [n for n in range(31) if n not in last]
            failed = {number for number, one in last.items() if one.source in {"fallback", "error"}}
            wanted = [number for number in range(31) if number not in last or number in failed]
            assert list(journal.pending(31, retry_fallbacks=True)) == wanted
            first = journal.first_fallback
            assert (None if first is None else first.row) == min(failed, default=None)


def test_many_rows_are_read_page_by_page(path):
    with Journal(path, OURS) as journal:
        journal.commit([row(number) for number in range(0, 5_000, 2)])
        assert [one.row for one in journal.answers()] == list(range(0, 5_000, 2))
        assert list(journal.pending(5_000, retry_fallbacks=False)) == list(range(1, 5_000, 2))


@pytest.mark.parametrize(
    "answer",
    ["neutral", None, "", 0.5, KeyboardInterrupt(), ["positive"], {"label": "positive"}, b"positive", float("nan")],
)
def test_what_is_no_label_is_refused_and_the_rest_of_its_batch_is_not_kept(path, answer):
    with Journal(path, OURS, labels=["positive", 1]) as journal:
        with pytest.raises(JournalError, match="which is no label"):
            journal.commit([row(0), row(1, answer=answer)])
        assert (len(journal), list(journal.answers())) == (0, [])


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("bundle", "bundle"),
        ("input", "input, delimiter or encoding"),
        ("text", "column of texts"),
        ("large", "large model"),
        ("server", "server"),
    ],
)
def test_another_run_is_told_by_what_differs(path, name, called):
    with Journal(path, OURS) as journal:
        journal.commit([row(0)])
    with pytest.raises(JournalError, match=f"another run \\(another {called}\\)"):
        Journal(path, replace(OURS, **{name: "other"}))
    with Journal(path, OURS) as journal:  # nothing is lost by it
        assert len(journal) == 1


@pytest.mark.parametrize("name", ["bundle", "input", "text", "large", "server"])
def test_a_run_that_has_answered_nothing_is_in_nobodys_way(path, name):
    Journal(path, replace(OURS, **{name: "typo"})).close()
    with Journal(path, OURS) as journal:
        journal.commit([row(0)])
    with pytest.raises(JournalError, match="another run"):
        Journal(path, replace(OURS, **{name: "typo"}))


@pytest.mark.parametrize("name", ["large", "server"])
def test_what_the_small_model_answered_stays_when_the_large_one_answered_nothing(path, name):
    with Journal(path, replace(OURS, **{name: "typo"})) as journal:
        journal.commit([row(0, "small"), row(1, "fallback"), row(2, "error")])
    with pytest.raises(JournalError, match="another input"):
        Journal(path, replace(OURS, input="other"))
    with Journal(path, OURS) as journal:
        assert [one.row for one in journal.answers()] == [0]
        assert list(journal.pending(3, retry_fallbacks=False)) == [1, 2]
        assert journal.counts == Counts(kept=1)


def test_replies_of_another_large_model_are_never_thrown_away(path):
    with Journal(path, replace(OURS, large="other")) as journal:
        journal.update("p", "", [ChatGeneration(message=AIMessage("positive"))])
    with pytest.raises(JournalError, match="another large"):
        Journal(path, OURS)


def test_a_journal_that_cannot_be_made_is_told(path):
    (path.parent / "file").touch()
    for place in (path.parent / "file" / "j.sqlite", path.parent):
        with pytest.raises(JournalError, match=r"no journal can be written.*choose another --out"):
            Journal(place, OURS)


def test_a_start_that_fails_halfway_leaves_no_half_of_an_identity(path):
    with pytest.raises(JournalError):
        Journal(path, replace(OURS, server=object()))
    with Journal(path, OURS) as journal:
        assert len(journal) == 0


def test_one_process_at_a_time_and_a_closed_journal_is_free(path):
    with Journal(path, OURS), pytest.raises(JournalError, match="another dsplus run is writing"):
        Journal(path, OURS)
    with Journal(path, OURS) as journal:
        journal.commit([row(0)])


@pytest.mark.parametrize("damage", ["start", "middle", "not a database"])
def test_a_damaged_file_is_told_and_never_read_as_answers(path, damage):
    with Journal(path, OURS) as journal:
        journal.commit([row(number) for number in range(2_000)])
    content = path.read_bytes()
    torn = {"start": b"x" * 200 + content[200:], "not a database": b"row,answer\n0,positive\n" * 500}
    torn["middle"] = content[:4096] + b"\xff" * (len(content) - 4096)
    path.write_bytes(torn[damage])
    with pytest.raises(JournalError, match="delete the file to start anew"):
        Journal(path, OURS)


def test_a_reply_is_kept_before_its_row_and_is_asked_for_once(path):
    with Journal(path, OURS) as journal:
        journal.update("prompt", "server 1", reply("positive"))
        assert journal.counts.tokens == 10
    with Journal(path, OURS) as journal:
        found = journal.lookup("prompt", "server 2")
        assert [generation.text for generation in found] == ["positive"]
        assert journal.lookup("other", "server 1") is None
        assert journal.counts.tokens == 10
        assert bool(journal)
        assert len(journal) == 0


def test_a_prompt_that_was_asked_twice_was_paid_for_twice(path):
    with Journal(path, OURS) as journal:
        journal.update("prompt", "", reply("positive", tokens=10))
        journal.update("prompt", "", reply("negative", tokens=7))
        assert journal.counts.tokens == 17
    with Journal(path, OURS) as journal:
        assert journal.counts.tokens == 17
        assert [generation.text for generation in journal.lookup("prompt", "")] == ["negative"]


def test_a_refusal_is_no_reply_and_replies_before_the_last_batch_can_be_forgotten(path):
    with Journal(path, OURS) as journal:
        journal.update("refused", "", reply(""))
        journal.update("early", "", reply("who knows"))
        journal.commit([row(0, "fallback")])
        journal.update("late", "", reply("positive"))
    with Journal(path, OURS, forget=True) as journal:
        assert [journal.lookup(prompt, "") is not None for prompt in ("refused", "early", "late")] == [0, 0, 1]
        assert journal.counts.tokens == 20  # they were paid for all the same


def test_replies_for_a_batch_under_way_are_not_forgotten_when_a_later_one_is_complete(path):
    with Journal(path, OURS) as journal:
        for batch, prompt in ((0, "slow"), (64, "quick")):
            with replies_of(batch):
                journal.update(prompt, "", reply("positive"))
        journal.commit([row(64)])
    for _ in range(2):
        with Journal(path, OURS, forget=True) as journal:
            assert [journal.lookup(prompt, "") is not None for prompt in ("slow", "quick")] == [True, False]
    with Journal(path, OURS) as journal:
        journal.commit([row(0), row(1)])
    with Journal(path, OURS, forget=True) as journal:
        assert journal.lookup("slow", "") is None
        assert journal.counts.tokens == 20


TOOL = {"name": "Answer", "args": {"label": "n\u00e9gative"}, "id": "1"}


@pytest.mark.parametrize("text", ["It looks positive, but:", ""])
def test_a_structured_reply_is_kept_as_its_arguments_and_not_as_the_text_beside_them(path, text):
    usage = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    with Journal(path, OURS) as journal:
        message = AIMessage(text, tool_calls=[TOOL], usage_metadata=usage)
        journal.update("prompt", "", [ChatGeneration(message=message)])
        assert journal.counts.tokens == 10
    with Journal(path, OURS) as journal:
        (found,) = journal.lookup("prompt", "")
        assert json.loads(found.text) == TOOL["args"]
        assert journal.counts.tokens == 10


def test_what_is_no_reply_was_paid_for_all_the_same(path):
    with Journal(path, OURS) as journal:
        journal.update("refused", "", reply(""))
        assert journal.lookup("refused", "") is None
        assert journal.counts.tokens == 10


@pytest.mark.parametrize("reason", ["length", "max_tokens", "content_filter", "SAFETY"])
def test_a_reply_that_was_cut_off_or_refused_is_none(path, reason):
    with Journal(path, OURS) as journal:
        message = AIMessage("card", response_metadata={"finish_reason": reason})
        journal.update("prompt", "", [ChatGeneration(message=message)])
        assert journal.lookup("prompt", "") is None


def test_a_reply_that_cannot_be_kept_costs_the_entry_alone(path, caplog):
    journal = Journal(path, OURS)
    journal.close()
    assert journal.lookup("prompt", "") is None
    journal.update("prompt", "", reply("positive"))
    journal.update("prompt", "", reply("positive"))
    assert [record.name for record in caplog.records].count("dsplus_chains") == 1


def test_a_full_disk_is_told_and_nothing_more_is_asked_or_lost(path):
    with Journal(path, OURS) as journal:
        journal.update("kept", "", reply("positive"))
        ((pages,),) = journal._query("PRAGMA page_count")
        journal._query(f"PRAGMA max_page_count = {pages}")
        journal.update("long", "", reply("positive" * 10_000))  # the answer stands
        for fails in (lambda: journal.lookup("kept", ""), lambda: journal.commit([row(n) for n in range(10_000)])):
            with pytest.raises(JournalError, match="the disk is full; free some space and run the same command again"):
                fails()
    with Journal(path, OURS) as journal:
        assert journal.lookup("kept", "") is not None
        assert journal.lookup("long", "") is None
        journal.commit([row(0)])


def test_what_cannot_be_written_is_not_called_damaged(path):
    errors = [sqlite3.OperationalError("disk I/O error"), sqlite3.OperationalError("attempt to write a readonly file")]
    for error, code in zip(errors, (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY), strict=True):
        error.sqlite_errorcode = code
        assert "delete" not in str(journal_error(path, error))


def test_half_of_a_character_stops_nothing(path):
    with Journal(path, OURS, labels=["positive"]) as journal:
        journal.update("\ud83d", "", reply("\ud83d"))
        journal.commit([replace(row(0, "fallback"), error="\ud83d")])
        assert journal.lookup("\ud83d", "") is not None
        assert journal.lookup("?", "") is None
        assert next(journal.answers()).error == "?"


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_journal import OURS, Journal, reply, row
def say(what, number):
    "Write a line by one call, so that a kill cuts none."
    os.write(1, f"{{what}} {{number}}\\n".encode())
with Journal(Path(sys.argv[1]), OURS) as journal:
    for number in journal.pending(10**9, retry_fallbacks=False):
        if journal.lookup(str(number), "") is None:
            say("asked", number)
            journal.update(str(number), "", reply("positive"))
            say("replied", number)
        journal.commit([row(number)])
        say("answered", number)
"""


def test_a_kill_loses_nothing_and_nothing_is_asked_about_twice(path):
    """What was under way at the kill may be asked about once more."""
    chance, asked, answered = random.Random(0), [], set()
    code = KILLED.format(tests=__file__.rsplit("/", 1)[0])
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as run:
            lines = [run.stdout.readline()]
            while lines[-1].startswith(("asked", "replied")):
                lines.append(run.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.2))  # wherever it then is
            run.send_signal(signal.SIGKILL)
            said = "".join(lines) + run.stdout.read()
        lines = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
        asked += [int(number) for what, number in lines if what == "asked"]
        replied = {int(number) for what, number in lines if what == "replied"}
        answered |= {int(number) for what, number in lines if what == "answered"}
        with closing(sqlite3.connect(path)) as database:
            kept = {number for (number,) in database.execute("SELECT row FROM answers")}
            (replies,) = database.execute("SELECT count(*) FROM replies").fetchone()
        assert answered <= kept
        assert replies >= len(replied | kept)
    assert len(asked) - len(set(asked)) <= 2
    assert answered


def test_a_thread_that_writes_ends_that_before_the_file_is_closed(path):
    """SQLite crashes the process if a connection is closed while another thread uses it."""
    journal = Journal(path, OURS)
    closing_it = threading.Thread(target=journal.close)
    with journal._lock:
        closing_it.start()
        closing_it.join(0.1)
        assert closing_it.is_alive()
    closing_it.join(60)
    assert not closing_it.is_alive()
    journal.update("prompt", "model", reply("late"))  # the answer stands, though it is not kept
