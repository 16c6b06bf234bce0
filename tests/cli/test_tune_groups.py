"""`dsplus tune --group`: several rows in one prompt, where that does no harm, and then so in `run` and `evaluate`."""

from __future__ import annotations

import json
import re

import pytest
from command_line import read
from fault_server import fault_server
from openai_server import openai_server

from dsplus_chains.storage.bundle import Bundle

BLOCK = re.compile(r"<(q\d+-[0-9a-f]{6})>\n<input>\n(.*?)\n</input>", re.DOTALL)
N = 150
COLUMNS = ("--text", "text", "--label", "label")


def judged(text):
    return "negative" if "bad" in text else "positive"


def say(prompt):
    text = prompt.rpartition("<input>\n")[2]
    blocks = BLOCK.findall(prompt)
    return "\n".join(f"{key}: {judged(text)}" for key, text in blocks) if blocks else judged(text)


@pytest.fixture
def counting():
    with openai_server(say, counts=True) as running:
        yield running


@pytest.fixture
def dev(table):
    words = [f"{'bad' if n % 3 else 'good'} thing, number {n}" for n in range(N)]
    return table("dev.csv", ["text", "label"], [(text, judged(text)) for text in words])


@pytest.fixture
def live(dev, counting):
    return ("--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", counting.base_url, "-q")


def groups_in(bodies):
    """The number of rows in each prompt."""
    return [len(BLOCK.findall(json.loads(body)["messages"][-1]["content"])) for body in bodies]


def test_groups_that_do_no_harm_are_stored_and_run_and_evaluate_ask_in_them(
    fitted, live, dsplus, counting, dev, tmp_path
):
    tune = ("tune", fitted, *live, "--hints", "none", "--fusion", "replace", "--objective", "match_large")
    code, said = dsplus(*tune, "--group", "auto")
    assert code == 0, said
    assert sorted(groups_in(counting.taken())) == [0] * N + [10] * (N // 10)
    assert "Taken: no hints, groups of 10, replace" in said
    bundle = Bundle.load(fitted)
    assert bundle.task.group == 10

    code, said = dsplus(*tune)  # as the bundle has it
    assert code == 0, said
    assert set(groups_in(counting.taken())) == {10}

    bundle.with_tuned(bundle.tuned.__class__.from_dict({**bundle.tuned.to_dict(), "threshold": None})).save(fitted)
    run = ("run", fitted, "--data", dev, "--text", "text", "--out", tmp_path / "out.csv", *live[6:])
    code, said = dsplus(*run, "--plan")
    assert code == 0, said
    planned = int(re.search(r"plan: (\d+) calls", said)[1])
    assert not counting.bodies
    code, said = dsplus(*run)
    assert code == 0, said
    assert set(groups_in(counting.bodies)) == {10}
    assert len(counting.taken()) == planned == N / 10
    assert [row["answer"] for row in read(tmp_path / "out.csv")] == [judged(row["text"]) for row in read(dev)]

    code, said = dsplus("evaluate", fitted, *live, "--plan", "--no-baselines")
    assert (code, f"plan: {N // 10} calls" in said) == (0, True), said
    assert not counting.bodies
    code, said = dsplus("evaluate", fitted, *live, "--json", tmp_path / "e.json")
    assert code == 0, said
    sizes = groups_in(counting.taken())
    assert sizes.count(0) == N, "the large model alone is asked row by row"
    assert sum(sizes) == N


def test_groups_are_not_tried_on_few_rows_nor_unless_asked_for(fitted, live, dsplus, counting):
    assert dsplus("tune", fitted, *live)[0] == 0
    assert set(groups_in(counting.taken())) == {0}
    code, said = dsplus("tune", fitted, *live, "--group", "auto", "--max-rows", "100")
    assert code == 0, said
    assert "Not tried: groups, which take at least 133 rows" in said
    assert set(groups_in(counting.taken())) == {0}
    assert Bundle.load(fitted).task.group == 1


def test_a_number_is_asked_in_and_stored_and_no_number_is_refused(fitted, live, dev, dsplus, counting):
    code, said = dsplus("tune", fitted, *live, "--group", "5", "--max-rows", "20")
    assert code == 0, said
    assert max(groups_in(counting.taken())) == 5
    assert Bundle.load(fitted).task.group == 5
    for given, message in ((("few",), "Got --group few but expected a number"), (("0",), "Got --group 0")):
        code, said = dsplus("tune", fitted, *live, "--group", *given)
        assert (code, message in said) == (2, True), said
    logged = ("--data", dev, *COLUMNS, "--large-column", "label", "-q")
    code, said = dsplus("tune", fitted, *logged, "--group", "auto")
    assert (code, "Got --group auto with --large-column but expected --large" in said) == (2, True), said
    assert not counting.bodies


@pytest.fixture
def grouping(fitted, live, dsplus):
    """A bundle that asks about every row, in groups of five."""
    assert dsplus("tune", fitted, *live, "--group", "5", "--max-rows", "20")[0] == 0
    bundle = Bundle.load(fitted)
    bundle.with_tuned(bundle.tuned.__class__.from_dict({**bundle.tuned.to_dict(), "threshold": None})).save(fitted)
    return fitted


@pytest.mark.parametrize("baselines", ["--baselines", "--no-baselines"])
def test_a_refused_key_ends_an_evaluation_in_groups_at_its_first_batch(grouping, dev, dsplus, baselines):
    with fault_server(mode="401") as server:
        asked = ("--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", server.base_url, "-q")
        code, said = dsplus("evaluate", grouping, *asked, baselines)
    assert (code, "the key is refused" in said) == (2, True), said
    assert server.requests <= N / 5


def test_a_run_in_groups_asks_little_in_an_outage(grouping, table, dsplus, tmp_path):
    rows = table("many.csv", ["text"], [(f"hm, number {number}",) for number in range(200)])
    with fault_server(mode="500") as server:
        asked = ("--data", rows, "--text", "text", "--large", "openai:fake", "--base-url", server.base_url, "-q")
        run = ("run", grouping, *asked, "--out", tmp_path / "out.csv", "--batch-size", "20", "--concurrency", "1")
        code, said = dsplus(*run)
    assert code == 0, said
    assert server.requests <= 4 * 3, "four groups of one batch, with the client's retries"
    assert {row["source"] for row in read(tmp_path / "out.csv")} == {"fallback"}
