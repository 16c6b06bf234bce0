from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing

import pytest
from command_line import COMMAND, read, wait_until
from fakes import CountingChat

from dsplus_chains.corpus import RunInterruptedError, label_table
from dsplus_chains.schema import InvalidInputError

N = 60


def arguments(bundle, data, out, server, *more):
    large = ("--large", "openai:fake", "--base-url", server.base_url)
    return ("run", bundle, "--data", data, "--text", "text", "--out", out, *large, "--quiet", *more)


@pytest.fixture
def inputs(table):
    rows = [(number, f"{'bad' if number % 2 else 'good'} thing, number {number}") for number in range(N)]
    return table("in.csv", ["id", "text"], rows)


def test_it_keeps_the_columns_and_adds_who_answered(tuned, dsplus, server, table, tmp_path):
    data = table(
        "in.csv",
        ["id", "text"],
        [(7, "good phone"), (8, "hm hm hm bad"), (9, "hm shrug"), (10, "hm hm hm refuse"), (11, 'a\n"line",break')],
    )
    out = tmp_path / "deep" / "out.csv"
    code, said = dsplus(*arguments(tuned("good phone", "hm hm hm refuse"), data, out, server))
    assert code == 0, said
    rows = read(out)
    assert list(rows[0]) == ["id", "text", "answer", "source", "confidence", "error"]
    assert [row["id"] for row in rows] == ["7", "8", "9", "10", "11"]
    assert rows[4]["text"] == 'a\n"line",break'
    assert [row["source"] for row in rows] == ["small", "large", "fallback", "fallback", "large"]
    assert [row["answer"] for row in rows[:2]] == ["positive", "negative"]
    assert "who knows" in rows[2]["error"]
    assert "no, thank you" in rows[3]["error"]
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)
    assert "1 kept, 4 deferred (2 of them fallback), 30 tokens" in said
    assert not list(out.parent.glob(".*partial*"))


def test_parquet_keeps_the_types_of_its_columns(tuned, dsplus, server, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    rows = pa.table({"id": [7, 8, 9], "text": ["good phone", "hm hm hm bad", "hm shrug"]})
    parquet.write_table(rows, data)
    code, said = dsplus(*arguments(tuned("good phone", "hm hm hm refuse"), data, out, server))
    assert code == 0, said
    found = parquet.read_table(out)
    assert found.select(["id", "text"]) == rows
    assert {name: str(found[name].type) for name in ("answer", "source", "confidence", "error")} == {
        "answer": "string",
        "source": "string",
        "confidence": "double",
        "error": "string",
    }
    assert found["source"].to_pylist() == ["small", "large", "fallback"]
    asked = len(server.asked)
    assert dsplus(*arguments(tuned("good phone", "hm hm hm refuse"), data, out, server))[0] == 0
    assert len(server.asked) == asked


def test_a_second_time_nothing_is_asked_and_fallbacks_only_if_wanted(tuned, dsplus, server, table, tmp_path):
    data = table("in.csv", ["text"], [["hm good"], ["hm shrug"], ["hm refuse"]])
    given = arguments(tuned(), data, tmp_path / "out.csv", server)
    assert dsplus(*given)[0] == 0
    first = read(tmp_path / "out.csv")
    assert dsplus(*given)[0] == 0
    assert read(tmp_path / "out.csv") == first
    assert Counter(server.asked) == {"hm good": 1, "hm shrug": 1, "hm refuse": 1}
    assert dsplus(*given, "--retry-fallbacks")[0] == 0
    assert Counter(server.asked) == {"hm good": 1, "hm shrug": 2, "hm refuse": 2}


def test_a_killed_run_goes_on_where_it_was(tuned, dsplus, server, inputs, tmp_path):
    bundle, out = tuned(), tmp_path / "out.csv"
    journal = tmp_path / "out.csv.journal.sqlite"
    given = arguments(bundle, inputs, out, server, "--batch-size", "16", "--concurrency", "16")
    given = [str(argument) for argument in given]
    server.most = 20
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        wait_until(run, lambda: len(server.asked) >= 20 + 16)  # so it has all 20 answers
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert not out.exists()
    with tmp_path.joinpath("out.csv.journal.sqlite-wal").open("ab") as file:
        file.write(b"torn")  # what a kill in the middle of a write leaves
    with closing(sqlite3.connect(journal)) as database:
        (kept,) = database.execute("SELECT count(*) FROM replies").fetchone()
    assert kept == 20
    assert len(server.asked) == 20 + 16

    server.most = None
    code, said = dsplus(*given)
    assert code == 0, said
    rows = read(out)
    assert [int(row["id"]) for row in rows] == list(range(N))
    assert [row["answer"] for row in rows] == ["negative" if number % 2 else "positive" for number in range(N)]
    assert {row["source"] for row in rows} == {"large"}
    assert len(server.asked) - (20 + 16) == N - 20, "what was under way at the kill is asked about again"
    assert f"{10 * N:,} tokens" in said


def test_a_reply_that_is_in_the_journal_is_never_asked_for_again(tuned, dsplus, server, inputs, tmp_path):
    """A kill between the last reply of a batch and the rows of the batch."""
    given = arguments(tuned(), inputs, tmp_path / "out.csv", server, "--batch-size", "20")
    assert dsplus(*given)[0] == 0
    with closing(sqlite3.connect(tmp_path / "out.csv.journal.sqlite")) as database, database:
        assert database.execute("DELETE FROM answers WHERE row >= 40").rowcount == 20
    first = (tmp_path / "out.csv").read_bytes()
    assert dsplus(*given)[0] == 0
    assert len(server.asked) == N
    assert (tmp_path / "out.csv").read_bytes() == first


def test_a_misspelt_column_does_not_stand_in_the_way_of_the_right_one(tuned, dsplus, table, tmp_path):
    data = table("in.csv", ["text", "gpt"], [("good phone", "positive"), ("hm well", "negative")])
    out = tmp_path / "out.csv"
    given = ("run", tuned("good phone", "hm well"), "--data", data, "--text", "text", "--out", out, "--quiet")
    code, said = dsplus(*given, "--large-column", "gtp")
    assert (code, "no column 'gtp'" in said) == (2, True), said
    assert not list(tmp_path.glob("*.journal.sqlite"))
    code, said = dsplus(*given, "--large-column", "gpt")
    assert code == 0, said
    assert [row["answer"] for row in read(out)] == ["positive", "negative"]


def test_the_journal_of_another_run_is_refused_with_advice(tuned, dsplus, server, inputs, tmp_path):
    bundle = tuned()
    given = arguments(bundle, inputs, tmp_path / "out.csv", server)
    assert dsplus(*given)[0] == 0
    tuned("good phone", "hm well")
    code, said = dsplus(*given)
    assert code == 2
    assert "another run (another bundle)" in said
    assert "delete it to start anew, or choose another --out" in said
    tuned()
    inputs.write_text("id,text\n1,good\n")
    code, said = dsplus(*given)
    assert code == 2
    assert "another input" in said
    assert said.count("\n") == 1


def test_a_damaged_journal_is_refused(tuned, dsplus, server, inputs, tmp_path):
    given = arguments(tuned(), inputs, tmp_path / "out.csv", server)
    assert dsplus(*given)[0] == 0
    journal = tmp_path / "out.csv.journal.sqlite"
    journal.write_bytes(b"no database at all, but many bytes of something else" * 100)
    code, said = dsplus(*given)
    assert code == 2
    assert "damaged" in said
    assert "delete the file to start anew" in said


def test_two_runs_do_not_share_a_journal(tuned, dsplus, server, inputs, tmp_path):
    from dsplus_chains.corpus.journal import Journal, RunIdentity, journal_path
    from dsplus_chains.schema import hash_of_file
    from dsplus_chains.storage.bundle_files import read_manifest

    bundle, out = tuned(), tmp_path / "out.csv"
    identity = RunIdentity(
        bundle=read_manifest(bundle).sha256,
        input=hash_of_file(inputs),
        text="text",
        large="openai:fake",
        server=server.base_url,
    )
    with Journal(journal_path(out), identity):
        code, said = dsplus(*arguments(bundle, inputs, out, server))
    assert code == 2
    assert "another dsplus run is writing" in said


def test_what_cannot_be_written_is_told_before_any_work(fitted, tuned, dsplus, server, table, inputs, tmp_path):
    taken = table("taken.csv", ["text", "answer"], [["good", "x"]])
    out = tmp_path / "out.csv"
    for data, place, message in [
        (taken, out, "got the column 'answer', which the output needs"),
        (inputs, inputs, "the input as the output too"),
        (inputs, tmp_path, "expected .csv"),
        (inputs, out, "dsplus tune"),
    ]:
        code, said = dsplus(*arguments(fitted, data, place, server))
        assert code == 2
        assert message in said
        assert said.count("\n") == 1
    assert not server.asked
    assert not list(tmp_path.glob("*.journal.sqlite"))


def test_logged_answers_label_a_file_too(tuned, dsplus, table, tmp_path):
    data = table("in.csv", ["text", "gpt"], [["good phone", "negative"], ["hm", "negative"], ["hm well", ""]])
    out = tmp_path / "out.jsonl"
    given = ("--data", data, "--text", "text", "--out", out, "--large-column", "gpt", "-q")
    code, said = dsplus("run", tuned("good phone", "hm well"), *given)
    assert code == 0, said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["source"] for row in rows] == ["small", "large", "fallback"]
    assert [row["answer"] for row in rows[:2]] == ["positive", "negative"]


def test_an_empty_cell_of_logged_answers_is_told_with_its_row_in_the_whole_file(tuned, dsplus, table, tmp_path):
    data = table("in.csv", ["text", "gpt"], [["hm", "negative"]] * 6 + [["hm", ""]])
    out = tmp_path / "out.csv"
    given = ("--data", data, "--text", "text", "--out", out, "--large-column", "gpt", "-q", "--batch-size", "2")
    code, said = dsplus("run", tuned("good phone", "hm"), *given)
    assert code == 0, said
    assert "column 'gpt' is empty in row 7" in read(out)[-1]["error"]
    assert ("The first fallback is row 7" in said, "--retry-fallbacks" in said) == (True, False), said


def test_a_retry_after_an_interrupt_uses_what_came_for_batches_that_were_under_way(tuned, table, tmp_path):
    data = table("in.csv", ["text"], [[f"hm good {name}"] for name in ("early", "stop", "next", "last")])
    later, stopped = threading.Event(), threading.Event()

    def stop(text):
        if "stop" in text and not stopped.is_set():
            stopped.set()
            assert later.wait(60)
            raise KeyboardInterrupt
        return "positive"

    def run():
        model = CountingChat(function=stop)
        given = {"text": "text", "out": tmp_path / "out.csv", "batch_size": 2, "concurrency": 2}
        try:
            label_table(bundle, data, **given, large_model=model, progress=lambda *_: later.set(), retry_fallbacks=True)
        except RunInterruptedError:
            return None
        return [re.search(r"hm good (\w+)", asked)[1] for asked in model.asked]

    bundle = tuned()
    assert run() is None
    assert run() == ["stop"]
    assert len(read(tmp_path / "out.csv")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "ray"), "--engine ray without --workers"),
        (("--workers", "2"), "--workers 2 without --engine ray"),
        (("--cluster", "auto"), "--cluster auto without --engine ray"),
        (("--engine", "ray", "--workers", "0"), "--workers"),
        (("--engine", "ray", "--workers", "2"), "pip install 'dsplus-chains[ray]'"),
    ],
)
def test_workers_need_ray_and_its_number_of_them(
    tuned, dsplus, server, inputs, tmp_path, monkeypatch, options, message
):
    from dsplus_chains.corpus import ray_scoring

    monkeypatch.setattr(ray_scoring, "find_spec", lambda _: None)
    code, said = dsplus(*arguments(tuned(), inputs, tmp_path / "out.csv", server, *options))
    assert (code, message in " ".join(said.split())) == (2, True), said
    assert not server.asked
    assert not (tmp_path / "out.csv.journal.sqlite").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, r"Got large_model=None .* and large_column=None"),
        ({"large_column": "id"}, "expected one of them"),
        ({"batch_size": 0}, "Got batch_size=0"),
        ({"batch_size": -1}, "Got batch_size=-1"),
        ({"concurrency": 0}, "Got concurrency=0"),
        ({"concurrency": 1.5}, "Got concurrency=1.5"),
        ({"text": ["text"]}, r"Got text=\['text'\] \(list\) but expected the name of a column"),
    ],
)
def test_wrong_arguments_are_refused_as_wrong_options_are(tuned, inputs, tmp_path, wrong, said):
    model = CountingChat(function=lambda prompt: "positive")
    given = {"text": "text", "out": tmp_path / "out.csv", **({"large_model": model} if wrong else {}), **wrong}
    with pytest.raises(InvalidInputError, match=said):
        label_table(tuned(), inputs, **given)
    assert not (tmp_path / "out.csv.journal.sqlite").exists()
    assert not model.asked
