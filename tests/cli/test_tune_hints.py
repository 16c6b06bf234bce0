"""`dsplus tune` with a live model: which way to ask pays, within a budget, and `run` then asks in that way."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dsplus_chains.storage.bundle import Bundle

COLUMNS = ("--text", "text", "--label", "label")
ROWS = [
    (f"{word} {thing}", label, label)
    for word, label in (("good", "positive"), ("fine", "positive"), ("poor", "negative"), ("ugly", "negative"))
    for thing in ("phone", "price", "sound")
] * 3
"""The server takes "poor" and "ugly" for praise unless the small model, which knows them, tells it otherwise."""


@pytest.fixture
def dev(table):
    return table("dev.csv", ["text", "label", "gpt"], ROWS)


@pytest.fixture
def live(dev, server):
    return ("--data", dev, *COLUMNS, "--large", "openai:fake", "--base-url", server.base_url, "-q")


def test_what_pays_is_stored_and_run_asks_in_that_way(fitted, live, dsplus, server, table, tmp_path):
    server.trusting = True
    numbers = tmp_path / "t.json"
    options = ("--hints", "auto", "--exemplars", "auto", "--fusion", "replace", "--json", numbers)
    code, said = dsplus("tune", fitted, *live, *options)
    assert code == 0, said
    assert len(server.asked) == 4 * 36, "all rows in each of four ways, and none again"
    assert "The 36 least sure of 36 rows" in said
    assert "→ soft" in said
    assert "Taken: soft hints, replace" in said
    assert "Not tried: hard hints, which prune nothing among 2 labels" in said
    ablation = json.loads(numbers.read_text())["ablation"]
    assert [(cell["hints"], cell["exemplars"]) for cell in ablation["cells"]] == [
        ("none", 0), ("soft", 0), ("none", 4), ("soft", 4)
    ]  # fmt: skip
    assert ablation["cells"][0]["broke"] == 18
    assert (ablation["best"]["hints"], ablation["best"]["broke"]) == ("soft", 0)
    bundle = Bundle.load(fitted)
    assert (bundle.task.hints, bundle.task.exemplars) == ("soft", 0)

    bundle = replace(bundle, exemplars=2).with_tuned(replace(bundle.tuned, threshold=None))
    bundle.save(fitted)
    server.prompts.clear()
    given = ("--data", table("in.csv", ["text"], [["ugly phone"]]), *live[2:4], *live[6:])
    code, said = dsplus("run", fitted, *given, "--out", tmp_path / "out.csv")
    assert code == 0, said
    assert "ugly phone,negative,large" in (tmp_path / "out.csv").read_text()
    (prompt,) = server.prompts
    assert prompt.count("<example>") == 2
    assert "estimates:" in prompt


def test_hints_that_do_not_pay_are_left_out_and_a_second_run_asks_for_nothing(fitted, live, dsplus, server, tmp_path):
    options = (*live, "--hints", "auto", "--fusion", "replace", "--answers", tmp_path / "answers.sqlite")
    first = dsplus("tune", fitted, *options)
    assert first[0] == 0, first[1]
    assert "Taken: no hints, replace" in first[1]
    assert Bundle.load(fitted).task.hints == "none"
    asked = len(server.asked)
    assert dsplus("tune", fitted, *options) == first
    assert len(server.asked) == asked


def test_a_plain_mode_is_asked_in_and_stored(fitted, live, dsplus, server, tmp_path):
    code, said = dsplus("tune", fitted, *live, "--hints", "none", "--exemplars", "3", "--json", tmp_path / "t.json")
    assert code == 0, said
    assert len(server.prompts) == 36
    assert all(prompt.count("<example>") == 3 and "estimates:" not in prompt for prompt in server.prompts)
    assert "ablation" not in json.loads((tmp_path / "t.json").read_text())
    assert (Bundle.load(fitted).task.hints, Bundle.load(fitted).task.exemplars) == ("none", 3)
    server.prompts.clear()
    code, said = dsplus("tune", fitted, *live)  # as the bundle has it
    assert code == 0, said
    assert all(prompt.count("<example>") == 3 for prompt in server.prompts)


def test_hard_hints_that_prune_nothing_are_kept_if_asked_for_but_said_to_be_of_no_use(fitted, live, dsplus):
    code, said = dsplus("tune", fitted, *live, "--hints", "hard")
    assert code == 0, said
    assert "Hard hints prune nothing here" in said
    replace(Bundle.load(fitted), top_k=1).save(fitted)
    code, said = dsplus("tune", fitted, *live, "--hints", "hard", "--fusion", "replace")
    assert code == 0, said
    assert "no label can be pruned: to have the true one" in said
    assert Bundle.load(fitted).task.hints == "hard"


def test_none_of_these_is_asked_again_if_wanted_then_as_the_bundle_has_it(fitted, live, dsplus, server, table):
    replace(Bundle.load(fitted), strong_labels=("positive",)).save(fitted)
    data = table("pairs.csv", ["text", "label"], [("bad phone", "negative"), ("good phone", "positive")] * 10)
    hard = ("--data", data, *live[2:], "--hints", "hard")
    code, said = dsplus("tune", fitted, *hard, "--reask")
    assert code == 0, said
    assert Bundle.load(fitted).task.reask
    assert len(server.asked) == 20 + 10
    assert dsplus("tune", fitted, *hard)[0] == 0
    assert len(server.asked) == 2 * (20 + 10)
    code, said = dsplus("tune", fitted, *hard, "--no-reask")
    assert not Bundle.load(fitted).task.reask
    assert len(server.asked) == 2 * (20 + 10) + 20
    assert "10 of 20 rows have no answer of the large model" in said


def test_the_large_model_alone_gets_neither_hints_nor_exemplars(fitted, live, dsplus, server):
    assert dsplus("tune", fitted, *live, "--hints", "soft", "--exemplars", "2")[0] == 0
    bundle = Bundle.load(fitted)
    bundle.with_tuned(replace(bundle.tuned, threshold=0.0)).save(fitted)
    server.prompts.clear()
    code, said = dsplus("evaluate", fitted, *live)
    assert code == 0, said
    assert len(server.prompts) == 12  # each text stands in three rows, and is asked about once
    assert not any("<example>" in prompt or "estimates:" in prompt for prompt in server.prompts)


def test_within_a_budget_only_what_was_asked_about_is_deferred(fitted, live, dsplus, server):
    budget = ("--hints", "none", "--max-tokens", "300", "--max-rows", "2")
    code, said = dsplus("tune", fitted, *live, *budget, "--objective", "max_escalation", "--max-escalation", "0.9")
    assert code == 0, said
    assert len(server.asked) == 30, "the server says that a row takes 10 tokens"
    assert "asked about 30 of 36 rows, those of which the small one is least sure" in said
    assert "So at most 83.3 % of inputs can be deferred." in said
    assert "the 6 that it has not answered count as wrong" in said
    assert "have no answer of the large model" not in said
    bundle = Bundle.load(fitted)
    assert bundle.tuned.constraints["max_escalation"] == pytest.approx(30 / 36)
    scored = bundle.scorer.batch([text for text, *_ in ROWS])
    deferred = [row["input"] for row in scored if row["prediction"].confidence < bundle.threshold]
    assert len(deferred) <= 30
    assert set(deferred) <= set(server.asked)


def test_what_cannot_be_is_said_before_anything_is_asked(fitted, dev, live, dsplus, server, tmp_path, table):
    logged = ("--data", dev, *COLUMNS, "--large-column", "gpt", "-q")
    bare = tmp_path / "bare"
    replace(Bundle.load(fitted), examples=None).save(bare)
    cases = [
        ((fitted, *logged, "--hints", "auto"), "Got --hints auto with --large-column but expected --large"),
        ((fitted, *logged, "--exemplars", "auto"), "Got --exemplars auto with --large-column"),
        ((fitted, *logged, "--max-tokens", "9"), "Got --max-tokens with --large-column"),
        ((fitted, *live, "--exemplars", "few"), "Got --exemplars few but expected a number"),
        ((fitted, *live, "--max-tokens", "9"), "Got max_tokens=9 but none of these can be tried"),
        (
            (fitted, *live, "--max-tokens", "9", "--objective", "match_large"),
            "--max-tokens with --objective match_large",
        ),
        ((fitted, *live, "--max-tokens", "9", "--max-risk", "0.2"), "Got --max-tokens with --max-risk"),
        ((bare, *live, "--exemplars", "4"), "fit it anew, without --no-examples"),
    ]
    for arguments, message in cases:
        code, said = dsplus("tune", *arguments)
        assert code == 2, (arguments, said)
        assert message in said
        told = [line for line in said.splitlines() if not line.startswith("dsplus: warning: ")]  # of training rows
        assert len(told) == 1, said
    assert not server.asked
    for options in (("--hints", "loud"), ("--max-rows", "0")):
        assert dsplus("tune", fitted, *live, *options)[0] == 2


def test_a_plain_mode_beside_logged_answers_is_stored_and_said(fitted, dev, dsplus):
    logged = ("--data", dev, *COLUMNS, "--large-column", "gpt", "-q")
    code, said = dsplus("tune", fitted, *logged, "--hints", "none", "--exemplars", "2", "--fusion", "posterior")
    assert code == 0, said
    assert "The chain will ask with no hints, 2 exemplars; the logged answers came from whatever prompt" in said
    bundle = Bundle.load(fitted)
    assert (bundle.task.hints, bundle.task.exemplars) == ("none", 2)
    assert bundle.fusion is not None
    code, said = dsplus("tune", fitted, *logged)
    assert "The chain will ask" not in said


def test_training_texts_stay_out_of_the_bundle_if_wanted(table, dsplus, live, tmp_path):
    data = table("train.csv", ["text", "label"], [row[:2] for row in ROWS])
    fit = ("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b", "-q")
    assert dsplus(*fit, "--no-examples")[0] == 0
    assert not (tmp_path / "b" / "examples").exists()
    code, said = dsplus("tune", tmp_path / "b", *live, "--exemplars", "auto")
    assert code == 0, said
    assert "The bundle holds no examples to show, so none were tried." in said
    assert Bundle.load(tmp_path / "b").task.exemplars == 0
    assert dsplus(*fit)[0] == 0
    assert (tmp_path / "b" / "examples" / "examples.json").is_file()
