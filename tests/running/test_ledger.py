"""What is reserved and spent, without any model."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsplus_chains.running.ledger import PATIENCE, Amount, Call, Ledger
from dsplus_chains.running.shared_database import is_gone, this_process
from dsplus_chains.schema import InvalidInputError

RUN = "run"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def ledger(most=100, path=None, clock=None):
    return Ledger(path, (most, math.inf), clock or Clock())


def call(prompt=10, answer=20):
    return Call("m", prompt, answer, None, base=prompt)


def settled(book, key, prompt=10, answer=20):
    book.settle(key, call(prompt, answer), "told")


def test_the_first_row_goes_alone_until_a_call_has_shown_what_one_costs():
    book = ledger()
    assert [book.begin_row(row, RUN) for row in "ab"] == ["go", "wait"]
    assert book.reserve("a1", "a", RUN, call()) == "go"
    assert book.begin_row("b", RUN) == "wait"
    settled(book, "a1")
    book.leave("a", [], Amount(30, 0.0))
    assert [book.begin_row(row, RUN) for row in "bcde"] == ["go", "go", "wait", "wait"]  # 30 spent, 30 a row


def test_a_call_is_reserved_only_if_its_prompt_fits():
    book = ledger(most=40)
    assert book.reserve("1", "", RUN, call(10, 25)) == "go"
    assert book.reserve("2", "", RUN, call(6, 1)) == "busy"  # 35 may be given back
    assert book.reserve("3", "", RUN, call(41, 1)) == "spent"
    assert book.reserve("4", "", RUN, call(5, 25)) == "go"  # its answer may overspend
    assert book.reserve("5", "", RUN, call(1, 1)) == "busy"


def test_a_row_waits_for_what_is_under_way_and_is_refused_if_nothing_is():
    book = ledger(most=40)
    assert book.reserve("1", "", RUN, call(10, 30)) == "go"
    assert book.begin_row("a", RUN) == "wait"
    settled(book, "1", 10, 30)
    assert book.begin_row("a", RUN) == "spent"


def test_what_failed_is_given_back_and_what_nobody_waits_for_stays_at_its_estimate():
    book = ledger(most=40)
    book.reserve("1", "", RUN, call(10, 30))
    book.settle("1", None, "told")
    assert book.committed(RUN) == (Amount(0, 0.0), Amount(0, 0.0))
    book.begin_row("a", RUN)
    book.reserve("2", "a", RUN, call(10, 30))
    book.leave("a", ["2"], Amount(40, 0.0))
    assert book.begin_row("b", RUN) == "spent"
    settled(book, "2", 1, 1)  # its answer came late
    assert book.committed(RUN) == (Amount(2, 0.0), Amount(0, 0.0))
    assert book.begin_row("b", RUN) == "go"


def test_a_row_may_ask_again_from_what_its_first_call_has_left():
    book = ledger(most=100)
    book.begin_row("a", RUN)
    book.reserve("a1", "a", RUN, call(10, 30))
    settled(book, "a1", 10, 10)
    assert book.committed(RUN) == (Amount(20, 0.0), Amount(20, 0.0))
    assert book.reserve("a2", "a", RUN, call(20, 30)) == "go"
    assert book.committed(RUN)[1].tokens == 50


def test_a_prompt_that_is_longer_than_its_estimate_teaches():
    book = ledger()
    assert book.seen("m").prompt(10) == 10
    book.reserve("1", "", RUN, call(10, 20))
    settled(book, "1", 17, 2)
    assert book.seen("m").prompt(10) == 17
    assert book.seen("other").prompt(10) == 10


def test_a_prompt_that_is_shorter_teaches_too_with_a_margin():
    book = ledger()
    book.reserve("1", "", RUN, call(100, 0))
    settled(book, "1", 50, 0)
    assert book.seen("m").prompt(100) == 56  # 1.1 times a half, rounded up
    book.reserve("2", "", RUN, call(10, 0))
    settled(book, "2", 10, 0)
    assert book.seen("m").prompt(100) == 100


def test_what_no_provider_has_told_teaches_nothing_of_prompts():
    book = ledger(most=1000)
    book.reserve("1", "", RUN, call(100, 0))
    book.settle("1", call(100, 0), "guessed")
    book.reserve("2", "", RUN, call(100, 0))
    settled(book, "2", 50, 0)
    assert book.seen("m").prompt(100) == 56


def test_nobody_is_waited_for_longer_than_his_time():
    clock = Clock()
    book = ledger(clock=clock)
    book.reserve("1", "", RUN, call(10, 20))
    assert book.begin_row("a", RUN) == "wait"
    clock.now += PATIENCE
    assert book.begin_row("a", RUN) == "go"
    assert book.committed(RUN)[1].tokens == 30


def test_what_is_forgotten_is_not_what_is_under_way_however_long_it_takes():
    clock = Clock()
    book = ledger(most=1000, clock=clock)
    book.begin_row("a", RUN)
    book.reserve("long", "a", RUN, call(10, 20))
    book.reserve("left", "b", RUN, call(10, 20))
    book.leave("b", ["left"], Amount(30, 0.0))
    clock.now += 2 * PATIENCE
    book.forget()
    assert book.committed(RUN) == (Amount(0, 0.0), Amount(30, 0.0))
    settled(book, "long", 10, 15)
    assert book.committed(RUN)[0] == Amount(25, 0.0)


def test_each_period_has_its_own():
    book = ledger(most=30)
    book.reserve("1", "", "monday", call())
    settled(book, "1")
    assert (book.begin_row("a", "monday"), book.begin_row("a", "tuesday")) == ("spent", "go")


def test_a_call_that_is_heard_twice_counts_once():
    book = ledger()
    assert [book.reserve("1", "", RUN, call()) for _ in range(2)] == ["go", "go"]
    for _ in range(2):
        settled(book, "1")
    assert book.committed(RUN) == (Amount(30, 0.0), Amount(0, 0.0))


def test_a_file_is_shared_and_kept(tmp_path):
    one, other = ledger(path=tmp_path / "b.sqlite"), ledger(path=tmp_path / "b.sqlite")
    one.reserve("1", "", RUN, call(10, 90))
    assert other.reserve("2", "", RUN, call()) == "busy"
    settled(one, "1", 10, 90)
    assert other.begin_row("a", RUN) == "spent"
    one.close()
    other.close()
    assert ledger(path=tmp_path / "b.sqlite").committed(RUN)[0].tokens == 100


KILLED = """
import os, sys, time
from pathlib import Path
from dsplus_chains.running.ledger import Call, Ledger
book = Ledger(Path(sys.argv[1]), (100, float("inf")), time.time)
book.begin_row("a", "run"), book.begin_row("b", "run")
book.reserve("1", "a", "run", Call("m", 10, 20, None))
os.kill(os.getpid(), 9)
"""


def test_a_call_of_a_killed_process_counts_at_its_estimate_and_is_not_waited_for(tmp_path):
    path = tmp_path / "b.sqlite"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=300)
    assert ended.returncode == -9
    book = ledger(path=path)
    assert book.begin_row("c", RUN) == "go"
    assert book.begin_row("d", RUN) == "wait"
    assert book.committed(RUN)[1].tokens == 30


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell when a process began")
def test_a_process_that_has_the_number_of_one_that_is_gone_is_not_taken_for_it(tmp_path):
    path = tmp_path / "b.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=300)
    with closing(sqlite3.connect(path)) as database, database:
        (owner,) = database.execute("SELECT DISTINCT owner FROM reserved").fetchone()
        host, number, *began = owner.split(":")
        again = ":".join([host, str(os.getpid()), *began])
        assert int(number) != os.getpid()
        database.execute("UPDATE reserved SET owner = ?", (again,))
    book = ledger(path=path)
    assert book.begin_row("c", RUN) == "go"
    assert book.committed(RUN)[1].tokens == 30


def test_a_process_lives_until_its_own_machine_says_otherwise():
    host, number, began = this_process().rsplit(":", 2)
    living = [this_process(), f"{host}:{number}", f"{host}:{number}:", f"elsewhere:{number}:{began}0", f"{host}:1:"]
    assert [is_gone(owner) for owner in living] == [False] * 5


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "b.sqlite").write_text("no database, but a text that is long enough to be read as one" * 20)
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        ledger(path=tmp_path / "b.sqlite")


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1)),
        max_size=60,
    ),
    st.integers(50, 300),
)
def test_whatever_the_order_no_more_than_one_answer_is_overspent(steps, most):
    """Six rows begin, call, settle and end in any order; no call costs more than its estimate."""
    book, rows, calls, longest = ledger(most), set(), {}, 0
    for number, (row, prompt, answer, less, kind) in enumerate(steps):
        key = f"row {row}"
        if key in calls and kind < 0.7:
            call_id, asked = calls.pop(key)
            settled(book, call_id, math.ceil(asked.input * less), math.ceil(asked.output * less))
        elif key in rows and kind > 0.8:
            book.leave(key, [calls.pop(key)[0]] if key in calls else [], Amount(prompt, 0.0))
            rows.remove(key)
        elif key not in rows:
            if book.begin_row(key, RUN) == "go":
                rows.add(key)
        elif key not in calls:
            longest = max(longest, answer)
            wanted = Call("m", book.seen("m").prompt(prompt), answer, None, base=prompt)
            if book.reserve(str(number), key, RUN, wanted) == "go":
                calls[key] = (str(number), wanted)
        assert book.committed(RUN)[0].tokens <= most + longest
