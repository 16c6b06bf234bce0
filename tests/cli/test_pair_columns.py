"""Tables with pairs of texts in two columns."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import read
from openai_server import openai_server

from dsplus_chains import Bundle, ExperienceStore
from dsplus_chains.schema import LargeAnswer, TextPair

NAMES = ["question", "document", "relevant", "gpt"]
WORDS = ["refund", "parcel", "invoice", "login", "battery", "screen"]


def rows(n, seed):
    """Questions with documents that answer them or not. A large model is right."""
    draws = np.random.default_rng(seed)
    found = []
    for number in range(n):
        asked, other = draws.choice(WORDS, 2, replace=False)
        said = "yes" if number % 2 else "no"
        told = asked if said == "yes" else other
        found.append((f"where is my {asked} {seed}x{number}", f"about the {told}", said, said))
    return found


@pytest.fixture
def tables(table):
    return table("train.csv", NAMES, rows(40, 1)), table("dev.csv", NAMES, rows(60, 2))


@pytest.fixture
def bundle(tables, dsplus, tmp_path):
    columns = ("--text", "question", "--text", "document", "--label", "relevant")
    code, said = dsplus("fit", "--data", tables[0], *columns, "--out", tmp_path / "grader", "-q")
    assert code == 0, said
    return tmp_path / "grader"


def test_a_bundle_of_pairs_remembers_its_columns(bundle, tables, dsplus, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    scorer = Bundle.load(bundle).scorer
    assert (scorer.pairs, scorer.input_key) == (True, ("question", "document"))
    one = {"question": "where is my refund", "document": "about the refund"}
    assert scorer.invoke(one)["prediction"] == scorer.invoke(tuple(one.values()))["prediction"]
    common = (bundle, "--data", tables[1], "--label", "relevant", "--large-column", "gpt", "-q")
    for command in ("tune", "evaluate"):
        code, said = dsplus(command, *common)
        assert code == 0, said
    out = tmp_path / "out.csv"
    with openai_server(lambda _: "yes") as server:
        large = ("--large", "openai:m", "--base-url", server.base_url, "-q")
        run = ("run", bundle, "--data", tables[1], *large, "--out")
        code, said = dsplus(*run, out, "--plan")
        assert code == 0, said
        code, said = dsplus(*run, out)
        assert code == 0, said
        bodies = [json.loads(body)["messages"][-1]["content"] for body in server.taken()]
        again = [(row["source"], row["answer"], row["confidence"]) for row in read(out)]
        code, said = dsplus(*run, tmp_path / "same.csv", "--text", "question", "--text", "document")
        assert (code, [(row["source"], row["answer"], row["confidence"]) for row in read(tmp_path / "same.csv")]) == (
            0,
            again,
        )
        code, said = dsplus(*run, out, "--text", "document", "--text", "question")
        assert (code, "another run" in said) == (2, True), said
    first = TextPair(*rows(60, 2)[0][:2])
    assert len(bodies) == sum(source != "small" for source, _, _ in again)
    assert (again[0][0] == "small") or any(first in body for body in bodies)


def test_learn_reads_labelled_pairs(bundle, tables, table, dsplus, tmp_path):
    assert dsplus("tune", bundle, "--data", tables[1], "--label", "relevant", "--large-column", "gpt", "-q")[0] == 0
    loaded = Bundle.load(bundle)
    with ExperienceStore(tmp_path / "e.sqlite") as store:
        for question, document, said, _ in rows(30, 3):
            record = loaded.scorer.invoke((question, document))
            hashed = {"model_hash": loaded.scorer.model_hash, "large": LargeAnswer(value=said)}
            store.record({**record, **hashed, "source": "large", "answer": said})
    gold = table("gold.csv", NAMES, rows(60, 4))
    options = ("--experience", tmp_path / "e.sqlite", "--gold", gold, "--gold-label", "relevant", "-q")
    code, said = dsplus("learn", bundle, *options, "--out", tmp_path / "after")
    assert code in {0, 4}, said
    assert "Learned from" in said
    assert Bundle.load(tmp_path / "after").scorer.input_key == ("question", "document")
    code, said = dsplus("learn", bundle, *options, "--out", tmp_path / "c", *["--gold-text", "question"] * 2)
    assert (code, "two different ones" in said) == (2, True), said


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (("question", "document", "gpt"), "expected one column, or two different ones"),
        (("question", "question"), "expected one column, or two different ones"),
        (("question", "nothing"), "no column 'nothing'"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "tune"])
def test_columns_that_make_no_pair(tables, dsplus, tmp_path, columns, told, command):
    named = [option for name in columns for option in ("--text", name)]
    place = ("--out", tmp_path / "x") if command == "fit" else (tmp_path / "x", "--large-column", "gpt")
    code, said = dsplus(command, "--data", tables[0], "--label", "relevant", *place, *named)
    assert (code, told in said) == (2, True), said


def test_pairs_and_single_texts_are_told_apart(bundle, fitted, tables, dsplus, table):
    asked = ("--data", tables[1], "--label", "relevant", "--large-column", "gpt", "-q")
    code, said = dsplus("tune", fitted, *asked, "--text", "question", "--text", "document")
    assert (code, "reads single texts" in said) == (2, True), said
    code, said = dsplus("tune", fitted, *asked)
    assert (code, "names no two of its own" in said) == (2, True), said
    code, said = dsplus("tune", bundle, *asked, "--text", "question")
    assert (code, "expected a pair of texts; give --text twice, or leave it out for its own" in said) == (2, True), said
    assert dsplus("tune", bundle, *asked)[0] == 0
    run = ("run", bundle, "--data", tables[1], "--large-column", "gpt", "--out", tables[1].with_name("o.csv"), "-q")
    code, said = dsplus(*run, "--text", "question")
    assert (code, "give --text twice, or leave it out for its own, 'question' and 'document'" in said) == (2, True), (
        said
    )
    gap = table("gap.csv", NAMES, [*rows(3, 5), ("where is it", "", "no", "no")])
    code, said = dsplus("tune", bundle, "--data", gap, "--label", "relevant", "--large-column", "gpt", "-q")
    assert (code, "row 4, column 'document': got an empty cell" in said) == (2, True), said


@pytest.mark.parametrize("command", ["tune", "evaluate", "run", "learn"])
def test_the_columns_of_a_bundle_in_the_other_order_are_told(bundle, tables, dsplus, tmp_path, command):
    assert dsplus("tune", bundle, "--data", tables[1], "--label", "relevant", "--large-column", "gpt", "-q")[0] == 0
    given = ("--data", tables[1], "--label", "relevant", "--large-column", "gpt")
    option = "--text"
    if command == "run":
        given = (*given[:2], *given[4:], "--out", tmp_path / "o.csv")
    elif command == "learn":
        ExperienceStore(tmp_path / "e.sqlite").close()
        given = ("--experience", tmp_path / "e.sqlite", "--gold", tables[1], "--gold-label", "relevant")
        given, option = (*given, "--out", tmp_path / "after"), "--gold-text"
    _, said = dsplus(command, bundle, *given, "-q", option, "document", option, "question")
    told = (
        "warning: the small model was fitted on 'question' and 'document', in this order, and reads them in the other"
    )
    assert (told in said, f"leave {option} out" in said) == (True, True), said
    _, said = dsplus(command, bundle, *given, "-q", option, "question", option, "document")
    assert "in this order" not in said


def test_a_row_without_one_of_its_texts_has_an_answer_or_an_error(bundle, tables, table, dsplus, tmp_path):
    assert dsplus("tune", bundle, "--data", tables[1], "--label", "relevant", "--large-column", "gpt", "-q")[0] == 0
    gap = table("gap.csv", NAMES, [*rows(3, 5), ("where is it", "", "no", "no")])
    out = tmp_path / "out.csv"
    code, said = dsplus("run", bundle, "--data", gap, "--large-column", "gpt", "--out", out, "-q")
    assert code == 0, said
    last = read(out)[-1]
    assert (last["answer"], last["source"]) == ("no", "large")
