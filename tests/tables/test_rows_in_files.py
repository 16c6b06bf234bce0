"""Rows that stay in their file: one at a time is in memory, and they are the same each time."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from dsplus_chains.tables import TableError, decoding, open_table, read_table, reading, write_table
from dsplus_chains.tables.file_rows import FileRows

KINDS = ["csv", "tsv", "jsonl", "json", "parquet"]


def table(path, n, text="a text that is no longer than most, number"):
    rows = [{"text": f"{text} {number}", "label": "yes"} for number in range(n)]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        write_table(path, ["text", "label"], rows)
    return path


def peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_the_whole_table_each_time(tmp_path, kind):
    path = table(tmp_path / f"t.{kind}", 2_500)
    opened, whole = open_table(path), read_table(path)
    assert (len(opened.rows), opened.columns, opened.typed) == (2_500, whole.columns, whole.typed)
    assert tuple(opened.rows) == tuple(opened.rows) == whole.rows
    assert list(opened.each_text("text")) == whole.texts("text")
    assert whole.rows[7] in opened.rows
    assert {} not in opened.rows


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_four_times_the_rows_take_no_more_memory(tmp_path, kind):
    few, many = table(tmp_path / f"few.{kind}", 2_000), table(tmp_path / f"many.{kind}", 8_000)

    def through(path):
        opened = open_table(path)
        for _ in opened.each_text("text"):
            pass
        write_table(tmp_path / "out.csv", opened.columns, opened.rows)
        write_table(tmp_path / "out.parquet", opened.columns, opened.rows)

    through(few)  # the first time loads libraries
    assert peak(lambda: through(many)) < 1.5 * peak(lambda: through(few))


def test_a_bad_row_at_the_end_is_told_before_the_first_is_used(tmp_path):
    for name, content in (
        ("t.csv", "text,label\n" + "x,1\n" * 3_000 + "y\n"),
        ("t.csv", "text,label\n" + "x,1\n" * 3_000 + '"y"x,1\n'),
        ("t.jsonl", '{"text": "x"}\n' * 3_000 + "[1]\n"),
    ):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(TableError, match=r"row 3001 \(line 300[12]\)|row 300[01] \(line 3002\)"):
            open_table(path)


def test_a_file_that_changes_meanwhile_is_told(tmp_path):
    path = table(tmp_path / "t.csv", 10)
    opened = open_table(path)
    assert len(list(opened.rows)) == 10
    table(path, 11)
    with pytest.raises(TableError, match="has changed while it was read; run again"):
        list(opened.rows)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_a_file_that_grows_while_it_is_checked_is_told(tmp_path, monkeypatch, kind):
    path, lines_of = table(tmp_path / f"t.{kind}", 10), decoding.lines_of

    def growing(*given):
        yield from lines_of(*given)
        with path.open("a") as file:
            file.write("\n")

    monkeypatch.setattr(reading, "lines_of", growing)
    opened = open_table(path)
    with pytest.raises(TableError, match="has changed while it was read; run again"):
        list(opened.rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("at", range(60, 70))
def test_bytes_that_are_no_text_are_found_wherever_they_are(tmp_path, monkeypatch, at, encoding):
    """A character, or a pair of bytes, may stand across two pieces."""
    monkeypatch.setattr(decoding, "_PIECE", 64)
    path, wrong = tmp_path / "t.csv", b"\xff" if encoding == "utf-8" else b"\x00\xdc"
    lines = "text,label\n" + "x,1\n" * 40
    path.write_bytes((lines[:at] + "é" + lines[at:]).encode(encoding) + wrong)
    with pytest.raises(TableError, match=rf"t\.csv, line {42}: got bytes that are no"):
        open_table(path)


def test_rows_are_written_without_being_held_and_an_iterator_is_still_taken(tmp_path):
    rows = [{"a": "x\ry"}, {"a": "z"}]
    begun = []

    def read():
        begun.append(1)
        return iter(rows)

    write_table(tmp_path / "t.csv", ["a"], FileRows(n=2, read=read))
    assert len(begun) == 2
    write_table(tmp_path / "u.csv", ["a"], iter(rows))
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "u.csv").read_bytes() == b'"a"\n"x\ry"\n"z"\n'
