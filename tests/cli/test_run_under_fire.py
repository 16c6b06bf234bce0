"""`dsplus run` and `dsplus tune` while the large model is out of order, and while somebody presses Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import subprocess
import sys

import pytest
from command_line import COMMAND, read, wait_until
from fault_server import fault_server

from dsplus_chains.corpus import Journal


@pytest.fixture
def broken():
    with fault_server() as server:
        yield server


@pytest.fixture
def inputs(table):
    return table("in.csv", ["id", "text"], [(number, f"hm, number {number}") for number in range(300)])


@pytest.fixture
def labelled(tuned, inputs, broken, tmp_path):
    large = ("--large", "openai:fake", "--base-url", broken.base_url)
    return ("run", tuned(), "--data", inputs, "--text", "text", "--out", tmp_path / "out.csv", *large, "-q")


@pytest.mark.parametrize("mode", ["401", "403", "404"])
def test_a_request_that_can_never_succeed_stops_the_run_and_leaves_its_rows_for_the_next(
    labelled, dsplus, broken, tmp_path, mode
):
    broken.mode = mode
    code, said = dsplus(*labelled)
    assert code == 2
    assert "The large model cannot be asked, since" in said
    assert broken.requests <= 20
    assert not (tmp_path / "out.csv").exists()
    broken.mode = "ok"
    code, said = dsplus(*labelled)
    assert code == 0, said
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"large"}
    assert broken.requests <= 20 + 300


def test_after_a_misspelt_large_model_the_same_output_takes_the_right_one(labelled, dsplus, broken, table, tmp_path):
    broken.mode = "404"
    typo = tuple("openai:typo" if argument == "openai:fake" else argument for argument in labelled)
    assert dsplus(*typo)[0] == 2
    data = table("logged.csv", ["text", "gpt"], [("hm", "positive")] * 3)
    logged = (*labelled[:2], "--data", data, "--text", "text", "-q", "--out", tmp_path / "out.csv")
    code, said = dsplus(*logged, "--large-column", "gpt_typo")
    assert (code, "no column 'gpt_typo'" in said) == (2, True), said
    code, said = dsplus(*logged, "--large-column", "gpt")
    assert (code, "3 rows are in" in said) == (0, True), said
    (tmp_path / "out.csv.journal.sqlite").unlink()
    assert dsplus(*typo)[0] == 2
    broken.mode = "ok"
    code, said = dsplus(*labelled)
    assert code == 0, said


def test_a_key_that_is_refused_midway_keeps_what_was_answered(labelled, dsplus, broken, tmp_path):
    code, said = dsplus(*labelled, "--batch-size", "50")
    assert code == 0, said
    (tmp_path / "out.csv.journal.sqlite").unlink()
    before = broken.requests
    broken.mode = "401"
    broken.after = before + 120
    assert dsplus(*labelled, "--batch-size", "50")[0] == 2
    broken.mode = "ok"
    between = broken.requests
    assert dsplus(*labelled, "--batch-size", "50")[0] == 0
    assert broken.requests - between <= 300 - 100, "two whole batches were answered before"
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"large"}


def test_on_a_full_disk_nothing_more_is_asked_and_what_was_kept_is_not_asked_again(
    labelled, dsplus, broken, monkeypatch, tmp_path
):
    with monkeypatch.context() as patched:
        opening = Journal._open

        def full_soon(journal, *args, **settings):
            opening(journal, *args, **settings)
            ((pages,),) = journal._query("PRAGMA page_count")
            journal._query(f"PRAGMA max_page_count = {pages + 2}")

        patched.setattr(Journal, "_open", full_soon)
        code, said = dsplus(*labelled, "--concurrency", "16")
        assert code == 2, said
        assert "out.csv.journal.sqlite: the disk is full; free some space and run the same command again" in said
        assert said.count("\n") == 1, said
        assert not (tmp_path / "out.csv").exists()
    asked = broken.requests
    assert 16 <= asked <= 150
    code, said = dsplus(*labelled)
    assert code == 0, said
    assert broken.requests <= 300 + 2 * 16
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"large"}


def test_an_outage_costs_few_requests_is_logged_and_has_an_exit_code(labelled, dsplus, broken, tmp_path, caplog):
    broken.mode = "500"
    with caplog.at_level(logging.WARNING, logger="dsplus_chains"):
        code, said = dsplus(*labelled, "--max-fallback-rate", "0.1")
    assert code == 3
    assert "The large model failed at 100.0 % of the deferred rows; --max-fallback-rate allows less" in said
    assert "The first fallback is row 1" in said
    assert broken.requests <= 100
    assert any("The small model answered for the large one in 64 of 64 rows" in one.message for one in caplog.records)
    rows = read(tmp_path / "out.csv")
    assert [row["id"] for row in rows] == [str(number) for number in range(300)]
    assert {row["source"] for row in rows} == {"fallback"}
    broken.mode = "ok"
    code, said = dsplus(*labelled, "--max-fallback-rate", "0.1", "--retry-fallbacks")
    assert code == 0, said
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"large"}


def test_few_fallbacks_are_told_and_are_no_failure(labelled, dsplus, broken):
    broken.mode, broken.every = "no label", 20
    code, said = dsplus(*labelled, "--max-fallback-rate", "0.1")
    assert code == 0, said
    assert "of them fallback" in said


def test_a_hanging_server_is_left_after_the_timeout(labelled, dsplus, broken, tmp_path):
    broken.mode = "hang"
    code, said = dsplus(*labelled, "--timeout", "1")
    assert code == 0, said
    assert broken.requests <= 100
    rows = read(tmp_path / "out.csv")
    assert {row["source"] for row in rows} == {"fallback"}
    assert rows[0]["error"] == "TimeoutError: no answer in 1 s"
    assert "not asked, since" in rows[-1]["error"]


def test_a_row_without_a_text_stops_no_file(tuned, dsplus, broken, table, tmp_path):
    data = table("in.csv", ["text"], [["hm"], [""], ["   "], ["hm hm"]])
    large = ("--large", "openai:fake", "--base-url", broken.base_url)
    given = ("run", tuned(), "--data", data, "--text", "text", "--out", tmp_path / "out.csv", *large, "-q")
    code, said = dsplus(*given)
    assert code == 0, said
    rows = read(tmp_path / "out.csv")
    assert [row["source"] for row in rows][::3] == ["large", "large"]
    assert len(rows) == 4


def test_what_a_terminal_would_obey_is_shown(labelled, dsplus, broken):
    broken.mode, broken.answer = "ok", "\x1b[2J\x1b]0;owned\x07 gone \u202e"
    _, said = dsplus(*labelled)
    assert "\\x1b[2J" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)


@pytest.mark.parametrize("concurrency", [3, 12])
def test_batches_share_the_requests_that_may_be_under_way(labelled, dsplus, broken, tmp_path, concurrency):
    full, reply = asyncio.Event(), broken._reply

    async def reply_once_all_are_there(*request):
        if broken.open_now >= concurrency:
            full.set()
        await asyncio.wait_for(full.wait(), 50)
        return await reply(*request)

    broken._reply = reply_once_all_are_there
    broken.mode, broken.delay = "delay", 0.05  # one request more would be seen
    code, said = dsplus(*labelled, "--batch-size", "5", "--concurrency", concurrency)
    assert code == 0, said
    assert broken.most_open == concurrency
    assert broken.requests == 300
    assert [row["id"] for row in read(tmp_path / "out.csv")] == [str(number) for number in range(300)]


@pytest.mark.parametrize("share", ["-0.1", "1.5", "many"])
def test_the_share_of_fallbacks_is_checked_first(labelled, dsplus, broken, share):
    assert dsplus(*labelled, "--max-fallback-rate", share)[0] == 2
    assert broken.requests == 0


@pytest.mark.parametrize("command", ["run", "tune"])
def test_ctrl_c_ends_with_130_and_what_was_answered_is_kept(labelled, fitted, dsplus, broken, table, tmp_path, command):
    given = [*labelled, "--batch-size", "32", "--concurrency", "16"]
    if command == "tune":
        rows = [(f"hm, number {number}", "positive" if number % 2 else "negative") for number in range(300)]
        data, large = table("dev.csv", ["text", "label"], rows), labelled[labelled.index("--large") :]
        given = ["tune", fitted, "--data", data, "--text", "text", "--label", "label", *large]
        given += ["--answers", tmp_path / "answers.sqlite"]
    broken.mode, broken.after = "hang", 70
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, given)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        wait_until(run, lambda: broken.requests >= 70 + 16)  # so it has all 70 answers
        run.send_signal(signal.SIGINT)
        out, said = run.communicate()
    assert (run.returncode, out) == (130, ""), said
    if command == "run":
        kept = re.search(r"Stopped after (\d+) of 300 rows(?:, and (\d+) replies for others)?\. What was", said)
        assert sum(map(int, kept.groups("0"))) == 70, said
    else:
        assert "Stopped. Its answers so far are in" in said
        assert "answers.sqlite. The same command asks only for the others." in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.csv").exists()
    asked, broken.mode = broken.requests, "ok"
    assert asked == 70 + 16
    code, said_then = dsplus(*given)
    assert broken.requests - asked == 300 - 70, "what was under way is asked about again"
    if command == "run":
        assert "of 300 rows" in said
        assert code == 0, said_then
        rows = read(tmp_path / "out.csv")
        assert {(row["source"], row["answer"]) for row in rows} == {("large", "positive")}


@pytest.mark.parametrize(
    ("mode", "every", "said"), [("no choices", 3, "without a reply"), ("no label", 1, "answered none")]
)
def test_tune_takes_no_threshold_from_a_model_that_does_not_answer(
    fitted, dsplus, broken, table, tmp_path, mode, every, said
):
    rows = [(f"hm, number {number}", "positive" if number % 2 else "negative") for number in range(100)]
    data, large = table("dev.csv", ["text", "label"], rows), ("--large", "openai:fake", "--base-url", broken.base_url)
    broken.mode, broken.every = mode, every
    before = [path.read_bytes() for path in sorted(fitted.rglob("*")) if path.is_file()]
    code, heard = dsplus("tune", fitted, "--data", data, "--text", "text", "--label", "label", *large, "-q")
    assert code == 2, heard
    assert said in heard
    assert [path.read_bytes() for path in sorted(fitted.rglob("*")) if path.is_file()] == before
