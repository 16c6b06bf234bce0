"""`dsplus run --batch-api` with a bundle that asks in groups: several rows in one prompt, many prompts in one job."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter

import pytest
from command_line import COMMAND, read, wait_until

from dsplus_chains.storage.bundle import Bundle

GROUP = 5
N = 21
BLOCK = re.compile(r"<(q\d+-[0-9a-f]{6})>\n<input>\n(.*?)\n</input>", re.DOTALL)


def judged(text):
    return "negative" if "bad" in text else "positive"


def say(prompt):
    """A line for each row of a group, the last row first. A text says what goes wrong with its line, or its group."""
    blocks = BLOCK.findall(prompt)
    if "poison" in prompt and blocks:
        raise ValueError("no, thank you")
    if not blocks:
        return judged(prompt.split("<input>\n", 1)[1].split("\n</input>", 1)[0])
    told = [(key, judged(text)) for key, text in blocks[::-1] if "unseen" not in text]
    torn = [(key, "positive") for key, text in blocks if "torn" in text]
    return "\n".join(f"{key}: {label}" for key, label in [*told, *torn])


@pytest.fixture
def grouping(tuned):
    """A bundle that asks about every row, in groups."""
    folder = tuned()
    Bundle.load(folder).with_task(group=GROUP).save(folder)
    return folder


@pytest.fixture
def given(grouping, jobs, table, tmp_path):
    """The command for rows of which some are told what goes wrong with them."""

    def make(troubles=(), *more):
        rows = [f"{'bad' if row % 3 else 'good'} thing, number {row}" for row in range(N)]
        for row, trouble in dict(troubles).items():
            rows[row] += f", {trouble}"
        data = table("in.csv", ["text"], [[text] for text in rows])
        large = ("--large", "openai:fake", "--base-url", jobs.base_url, "--batch-api", "--quiet")
        return ("run", grouping, "--data", data, "--text", "text", "--out", tmp_path / "out.csv", *large, *more)

    return make


@pytest.fixture
def answered(tmp_path):
    """Checks that the large model has answered all rows, each with its own label."""

    def check():
        rows = read(tmp_path / "out.csv")
        assert [row["answer"] for row in rows] == [judged(row["text"]) for row in rows]
        assert {row["source"] for row in rows} == {"large"}

    return check


def groups(texts):
    """The number of rows in each prompt. A row that is asked alone is 0."""
    return sorted(len(BLOCK.findall(text)) for text in texts)


def test_groups_of_a_batch_are_one_job_and_each_answer_goes_to_its_row(given, dsplus, jobs, answered):
    code, said = dsplus(*given())
    assert code == 0, said
    answered()
    assert jobs.sizes() == [5]
    assert groups(jobs.asked) == [4, 4, 4, 4, 5]
    assert not jobs.single
    assert f"{10 * 5} tokens" in said
    assert dsplus(*given())[0] == 0
    assert jobs.sizes() == [5]


def test_a_plan_foresees_the_groups(given, dsplus, jobs):
    code, said = dsplus(*given((), "--plan"))
    assert (code, "The plan: 5 calls" in said) == (0, True), said
    assert not jobs.calls


def test_a_row_that_is_missing_or_has_two_answers_is_asked_alone_in_a_second_job(given, dsplus, jobs, answered):
    code, said = dsplus(*given({1: "unseen", 7: "torn", 8: "unseen"}))
    assert code == 0, said
    answered()
    assert jobs.sizes() == [5, 3]
    assert groups(jobs.asked[5:]) == [0, 0, 0]
    assert [sum(f"number {row}, " in text for text in jobs.asked[5:]) for row in (1, 7, 8)] == [1, 1, 1]
    assert not jobs.single


def test_the_rows_of_a_group_that_is_refused_are_asked_alone(given, dsplus, jobs, answered):
    code, said = dsplus(*given({14: "poison"}))
    assert code == 0, said
    answered()
    assert jobs.sizes() == [5, 4]
    assert groups(jobs.asked[5:]) == [0] * 4


@pytest.mark.parametrize(("end", "told"), [("expired", "in time"), ("cancelled", "cancelled"), ("crowded", "limit")])
def test_a_job_that_has_answered_nothing_makes_no_larger_one_of_single_rows(
    given, dsplus, jobs, answered, tmp_path, end, told
):
    if end == "crowded":
        jobs.room = 0
    else:
        jobs.end, jobs.done = end, 0
    code, said = dsplus(*given())
    assert code == 0, said
    assert jobs.sizes() == [5]
    rows = read(tmp_path / "out.csv")
    assert {row["source"] for row in rows} == {"fallback"}
    assert told in rows[0]["error"]
    jobs.room, jobs.end, jobs.done = None, "completed", None
    code, said = dsplus(*given((), "--retry-fallbacks"))
    assert code == 0, said
    answered()
    assert jobs.sizes() == [5, 5]


@pytest.mark.parametrize("at", ["groups", "single rows"])
def test_a_killed_run_finds_the_job_of_its_groups_or_of_its_single_rows(given, dsplus, jobs, answered, at):
    def hold_after_the_groups(prompt):
        if at == "single rows":
            jobs.held.clear()
        return say(prompt)

    jobs.answer = hold_after_the_groups
    if at == "groups":
        jobs.held.clear()
    command = [str(argument) for argument in given({1: "unseen", 7: "torn"})]
    wanted = 1 if at == "groups" else 2
    with subprocess.Popen([sys.executable, "-c", COMMAND, *command]) as run:
        wait_until(run, lambda: sum(bool(job["looks"]) for job in [*jobs.jobs.values()]) >= wanted)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    jobs.answer = say
    jobs.held.set()
    code, said = dsplus(*command)
    assert code == 0, said
    answered()
    assert jobs.sizes() == [5, 2]
    assert set(Counter(jobs.asked).values()) == {1}
