"""`dsplus tune --batch-api`: every way to ask as jobs, at half the price."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from command_line import COMMAND, wait_until

N, LEAST_SURE = 36, 12
WAYS = ("--hints", "auto", "--exemplars", "auto", "--max-rows", LEAST_SURE)
SIZES = [LEAST_SURE] * 4 + [N - LEAST_SURE]
"""None or soft hints, without and with exemplars, and then the other rows."""


def say(prompt):
    text = prompt.rsplit("<input>\n", 1)[1].split("\n</input>", 1)[0]
    return "negative" if "bad" in text else "positive"


@pytest.fixture
def dev(table):
    rows = [(f"{'bad' if n % 3 else 'good'} thing, number {n}", "negative" if n % 3 else "positive") for n in range(N)]
    return table("dev.csv", ["text", "label"], rows)


def arguments(bundle, data, server, *more):
    large = ("--large", "openai:gpt-4o-mini", "--base-url", server.base_url, "--quiet")
    return [*map(str, ("tune", bundle, "--data", data, "--text", "text", "--label", "label", *large, *WAYS, *more))]


def as_text(body):
    return json.dumps(body, sort_keys=True)


def files(bundle):
    """What tuning has written."""
    return (bundle / "tuned.json").read_text(), (bundle / "bundle.json").read_text()


def test_tuning_over_jobs_is_tuning_by_calls_and_asks_each_row_once(fitted, dsplus, jobs, dev, tmp_path):
    called = tmp_path / "called"
    shutil.copytree(fitted, called)
    first = dsplus(*arguments(called, dev, jobs))
    assert first[0] == 0, first[1]
    assert len(jobs.single) == sum(SIZES)
    code, said = dsplus(*arguments(fitted, dev, jobs, "--batch-api"))
    assert code == 0, said
    assert files(fitted) == files(called)
    pytest.importorskip("genai_prices")
    assert said.count("0.00195 US dollars per 1,000 rows") == 1, "nine tokens of a prompt, and one of an answer"
    assert "In jobs of the Batch API, half of them is paid" in said
    assert "half of them" not in first[1]
    assert len(jobs.single) == sum(SIZES)
    assert jobs.sizes() == SIZES
    without_stream = [{name: value for name, value in body.items() if name != "stream"} for body in jobs.single]
    assert Counter(map(as_text, jobs.bodies)) == Counter(map(as_text, without_stream))


def test_jobs_of_all_ways_are_under_way_at_once_and_then_one_of_the_other_rows(fitted, dsplus, jobs, dev):
    jobs.held.clear()
    under_way = []

    def release():
        """Let the four jobs end as soon as they are all there."""
        deadline = time.monotonic() + 300
        while len(jobs.jobs) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        under_way.append(len(jobs.jobs))
        jobs.held.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    code, said = dsplus(*arguments(fitted, dev, jobs, "--batch-api"))
    releasing.join()
    assert code == 0, said
    assert under_way == [4]
    assert jobs.sizes() == SIZES


@pytest.mark.parametrize("kind", ["a budget of tokens", "an account with little room"])
def test_ways_wait_for_each_other_where_they_have_to(fitted, dsplus, jobs, dev, kind):
    more = ("--max-tokens", "1000000") if kind == "a budget of tokens" else ()
    jobs.room = N - LEAST_SURE
    under_way = []

    def watch(prompt):
        under_way.append(sum(job["status"] == "in_progress" for job in [*jobs.jobs.values()]))
        return say(prompt)

    jobs.answer = watch
    code, said = dsplus(*arguments(fitted, dev, jobs, "--batch-api", *more))
    assert code == 0, said
    assert len(jobs.asked) == sum(SIZES)
    assert max(Counter(map(as_text, jobs.bodies)).values()) == 1
    assert max(under_way) <= (0 if more else 1), "besides the one that is answered"
    assert (len(jobs.sizes()) == len(SIZES)) or not more


def test_a_killed_tune_goes_on_and_pays_for_nothing_twice(fitted, dsplus, jobs, dev):
    def hold_after_the_first_job(prompt):
        if len(jobs.asked) == LEAST_SURE:
            jobs.held.clear()
        return say(prompt)

    jobs.answer = hold_after_the_first_job
    given = arguments(fitted, dev, jobs, "--batch-api")
    with subprocess.Popen([sys.executable, "-c", COMMAND, *given]) as tune:
        wait_until(tune, lambda: sum(bool(job["looks"]) for job in [*jobs.jobs.values()]) >= 2)
        tune.send_signal(signal.SIGKILL)
    assert tune.returncode == -signal.SIGKILL
    assert not (fitted / "tuned.json").exists()
    jobs.answer = say
    jobs.held.set()
    code, said = dsplus(*given)
    assert code == 0, said
    assert jobs.sizes() == SIZES
    assert max(Counter(map(as_text, jobs.bodies)).values()) == 1
    assert not jobs.single


def test_what_is_kept_in_a_file_of_answers_is_asked_again_by_no_job(fitted, dsplus, jobs, dev, tmp_path):
    given = arguments(fitted, dev, jobs, "--batch-api", "--answers", tmp_path / "answers.sqlite")
    first = dsplus(*given)
    assert first[0] == 0, first[1]
    jobs.files.clear()  # the provider keeps them for a while only
    assert dsplus(*given) == first
    assert jobs.sizes() == SIZES


def test_a_wrong_key_ends_it_and_nothing_is_stored(fitted, dsplus, jobs, dev):
    jobs.troubles += [("POST /v1/files", 401, "before")] * 4
    code, said = dsplus(*arguments(fitted, dev, jobs, "--batch-api"))
    assert (code, "AuthenticationError" in said) == (2, True), said
    assert not (fitted / "tuned.json").exists()


def test_only_a_server_with_jobs_can_be_asked_in_jobs(fitted, dsplus, dev):
    given = ("tune", fitted, "--data", dev, "--text", "text", "--label", "label", "--large-column", "label")
    code, said = dsplus(*given, "--batch-api")
    assert code == 2
    assert "Got --batch-api with a column of logged answers but expected --large openai:NAME" in said


def test_a_plan_makes_no_job(fitted, dsplus, jobs, dev):
    code, said = dsplus(*arguments(fitted, dev, jobs, "--batch-api", "--plan"))
    assert code == 0, said
    assert f"{sum(SIZES)} calls" in said
    assert not jobs.calls
