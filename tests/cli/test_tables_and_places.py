"""The commands on strange tables, and outputs where none may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsplus_chains.storage.bundle import Bundle

COLUMNS = ("--text", "text", "--label", "label")
ROWS = [("good phone", "positive"), ("bad phone", "negative"), ("nice café", "positive"), ("ugly café", "negative")] * 3


def test_every_command_reads_a_file_with_its_delimiter_and_encoding(dsplus, tmp_path):
    data, bundle = tmp_path / "t.csv", tmp_path / "b"
    lines = ["text,~label~gpt", *(f"{text}, really~{label}~{label}" for text, label in ROWS)]
    data.write_bytes("\r\n".join(lines).encode("cp1252"))
    how = ("--data", data, "--delimiter", "~", "--encoding", "cp1252", "-q")
    columns, logged = ("--text", "text,", "--label", "label"), ("--large-column", "gpt")
    for arguments in (
        ("fit", *how, *columns, "--out", bundle),
        ("tune", bundle, *how, *columns, *logged),
        ("evaluate", bundle, *how, *columns, *logged),
        ("run", bundle, *how, "--text", "text,", *logged, "--out", tmp_path / "out.jsonl"),
    ):
        code, said = dsplus(*arguments)
        assert code == 0, said
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[2])["text,"] == "nice café, really"
    code, said = dsplus("fit", *how[:2], *columns, "--out", tmp_path / "c", "-q")
    assert (code, "--encoding cp1252" in said) == (2, True), said


def test_labels_that_read_alike_are_told_in_one_line(table, dsplus, tmp_path):
    rows = [(text, {"positive": "Positive"}.get(label, label)) for text, label in ROWS] + [("fine", "positive")] * 2
    code, said = dsplus(
        "fit", "--data", table("t.csv", ["text", "label"], rows), *COLUMNS, "--out", tmp_path / "b", "-q"
    )
    assert code == 0, said
    assert said.count("The labels 'Positive' and 'positive' read alike") == 1


def test_half_of_a_character_is_no_training_text(dsplus, tmp_path):
    data = tmp_path / "t.jsonl"
    data.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in [*ROWS, ("\ud83d", "positive")])
    )
    code, said = dsplus("fit", "--data", data, *COLUMNS, "--out", tmp_path / "b", "-q")
    assert (code, "row 13, column 'text'" in said) == (2, True), said


@pytest.mark.parametrize(
    "where", ["b/o.csv", "b/scorer/o.csv", "b/new/o.csv", "b/../b/o.csv", "link/o.csv", "b/bundle.jsonl"]
)
def test_no_output_goes_into_the_bundle(tuned, dsplus, server, table, tmp_path, where):
    bundle = tuned()
    (tmp_path / "link").symlink_to(bundle)
    before = sorted((str(path), path.read_bytes()) for path in bundle.rglob("*") if path.is_file())
    data, place = table("t.csv", ["text", "label"], ROWS), tmp_path / where
    live = ("--data", data, "--large", "openai:fake", "--base-url", server.base_url, "-q")
    cases = [
        ("run", bundle, *live, "--text", "text", "--out", place),
        ("evaluate", bundle, *live, *COLUMNS, "--json", place),
        ("evaluate", bundle, *live, *COLUMNS, "--report", place.parent),
        ("evaluate", bundle, *live, *COLUMNS, "--answers", place),
        ("tune", bundle, *live, *COLUMNS, "--json", place),
        ("tune", bundle, *live, *COLUMNS, "--answers", place),
    ]
    for arguments in cases:
        code, said = dsplus(*arguments)
        assert code == 2, arguments
        assert "inside the bundle" in said
        assert said.count("\n") == 1
    assert not server.asked
    assert sorted((str(path), path.read_bytes()) for path in bundle.rglob("*") if path.is_file()) == before
    Bundle.load(bundle)


def test_no_output_is_an_input_or_another_output(tuned, dsplus, server, table, tmp_path):
    bundle, data = tuned(), table("t.csv", ["text", "label"], ROWS)
    (tmp_path / "link.csv").symlink_to(data)
    before, other, page = data.read_bytes(), tmp_path / "o", tmp_path / "r" / "report.md"
    live = ("--data", data, "--large", "openai:fake", "--base-url", server.base_url, "-q")
    cases = [(command, bundle, *live, *COLUMNS, option, place)
             for command in ("tune", "evaluate") for option in ("--json", "--answers")
             for place in (data, tmp_path / "link.csv")]  # fmt: skip
    cases += [
        (command, bundle, *live, *COLUMNS, "--json", other, "--answers", other) for command in ("tune", "evaluate")
    ]
    cases += [
        ("run", bundle, *live, "--text", "text", "--out", data),
        ("run", bundle, *live, "--text", "text", "--out", tmp_path / "link.csv"),
        ("tune", bundle, *live, *COLUMNS, "--batch-api", "--json", tmp_path / "b.jobs.sqlite"),
        ("evaluate", bundle, *live, *COLUMNS, "--report", other, "--json", other),
        ("evaluate", bundle, *live, *COLUMNS, "--report", page.parent, "--answers", page),
    ]
    for arguments in cases:
        code, said = dsplus(*arguments)
        assert code == 2, arguments
        assert ("input as the output" in said) != ("one place for two outputs" in said), arguments
        assert not server.asked
        assert data.read_bytes() == before
        assert not other.exists()


def test_no_input_lies_in_the_folder_of_a_bundle_that_is_written_anew(fitted, dsplus, tmp_path):
    hidden = fitted / ".train.csv"
    hidden.write_bytes((tmp_path / "train.csv").read_bytes())
    code, said = dsplus("fit", "--data", hidden, *COLUMNS, "--out", fitted, "-q")
    assert (code, "inside the bundle" in said, hidden.exists()) == (2, True, True), said
    code, said = dsplus("bootstrap", hidden, "--instruction", "Which?", "--out", fitted, "-q")
    assert (code, "inside the bundle" in said, hidden.exists()) == (2, True, True), said


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="other systems have no folder in which nobody can write")
def test_no_command_works_for_an_output_that_cannot_be_written(tuned, dsplus, server, table):
    bundle, data = tuned(), table("t.csv", ["text", "label"], ROWS)
    live = ("--data", data, "--large", "openai:fake", "--base-url", server.base_url, "-q")
    for arguments in (
        ("fit", "--data", data, *COLUMNS, "-q", "--out", "/proc/b"),
        ("bootstrap", data, "--instruction", "Which?", "-q", "--out", "/proc/b"),
        ("run", bundle, *live, "--text", "text", "--out", "/proc/x.csv"),
        ("evaluate", bundle, *live, *COLUMNS, "--report", "/proc/r"),
        ("evaluate", bundle, *live, *COLUMNS, "--answers", "/proc/a.sqlite"),
        ("tune", bundle, *live, *COLUMNS, "--json", "/proc/t.json"),
    ):
        code, said = dsplus(*arguments)
        assert (code, "where nothing can be written" in said) == (2, True), (arguments, said)
    assert not server.asked
