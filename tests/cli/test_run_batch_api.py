"""`dsplus run --batch-api`: the deferred rows as jobs, at half the price."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

import pytest
from command_line import COMMAND, read, wait_until

N = 40


def say(prompt):
    text = prompt.split("<input>\n", 1)[1].split("\n</input>", 1)[0]
    if "refuse" in text:
        raise ValueError("no, thank you")
    return "who knows" if "shrug" in text else "negative" if "bad" in text else "positive"


def arguments(bundle, data, out, server, *more):
    large = ("--large", "openai:fake", "--base-url", server.base_url, "--batch-api")
    return ("run", bundle, "--data", data, "--text", "text", "--out", out, *large, "--quiet", *more)


@pytest.fixture
def inputs(table):
    return table("in.csv", ["id", "text"], [(n, f"{'bad' if n % 2 else 'good'} thing, number {n}") for n in range(N)])


def test_all_deferred_rows_are_one_job_and_nothing_is_asked_at_the_full_price(tuned, dsplus, jobs, table, tmp_path):
    rows = [["good phone"], ["hm hm hm bad"], ["hm hm hm refuse"], ["hm hm hm shrug"], ["hm hm hm well"]]
    data, out = table("in.csv", ["text"], rows), tmp_path / "out.csv"
    given = arguments(tuned("good phone", "hm hm hm bad"), data, out, jobs)
    code, said = dsplus(*given)
    assert code == 0, said
    assert [row["source"] for row in read(out)] == ["small", "large", "fallback", "fallback", "large"]
    assert [row["answer"] for row in read(out)][1::3] == ["negative", "positive"]
    assert "no, thank you" in read(out)[2]["error"]
    assert jobs.sizes() == [4, 1]  # the answer that is no label is asked about once more
    assert not jobs.single
    assert dsplus(*given)[0] == 0
    assert jobs.sizes() == [4, 1]
    assert dsplus(*given, "--retry-fallbacks")[0] == 0
    assert jobs.sizes() == [4, 1, 2, 1]


def test_batches_have_jobs_of_their_own(tuned, dsplus, jobs, inputs, tmp_path):
    code, said = dsplus(*arguments(tuned(), inputs, tmp_path / "out.csv", jobs, "--batch-size", "16"))
    assert code == 0, said
    assert sorted(jobs.sizes()) == [8, 16, 16]
    assert [row["answer"] for row in read(tmp_path / "out.csv")] == ["positive", "negative"] * (N // 2)
    assert f"{10 * N:,} tokens" in said


def test_a_killed_run_finds_its_job_again(tuned, dsplus, jobs, inputs, tmp_path):
    bundle, out = tuned(), tmp_path / "out.csv"
    given = [str(argument) for argument in arguments(bundle, inputs, out, jobs)]
    jobs.held.clear()
    with subprocess.Popen([sys.executable, "-c", COMMAND, *given]) as run:
        wait_until(run, lambda: any(job["looks"] for job in [*jobs.jobs.values()]))
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    jobs.held.set()
    code, said = dsplus(*given)
    assert code == 0, said
    assert jobs.sizes() == [N]
    assert set(Counter(jobs.asked).values()) == {1}
    assert [row["answer"] for row in read(out)] == ["positive", "negative"] * (N // 2)


def test_a_wrong_key_ends_the_run_and_no_row_is_kept_as_a_fallback(tuned, dsplus, jobs, inputs, tmp_path):
    jobs.troubles.append(("POST /v1/files", 401, "before"))
    given = arguments(tuned(), inputs, tmp_path / "out.csv", jobs)
    code, said = dsplus(*given)
    assert (code, "the key is refused" in said) == (2, True), said
    assert dsplus(*given)[0] == 0
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"large"}


@pytest.mark.parametrize("large", [("--large", "ollama:fake"), ("--large-column", "text")])
def test_only_a_server_with_jobs_can_be_asked_in_jobs(tuned, dsplus, inputs, tmp_path, large):
    given = ("run", tuned(), "--data", inputs, "--text", "text", "--out", tmp_path / "out.csv", *large)
    code, said = dsplus(*given, "--batch-api")
    assert code == 2
    assert "--large openai:NAME" in said
