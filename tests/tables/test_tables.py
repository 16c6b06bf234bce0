from __future__ import annotations

import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dsplus_chains.tables.reading import read_table
from dsplus_chains.tables.table import TableError
from dsplus_chains.tables.writing import write_table

ROWS = [{"text": "plain", "label": "a"}, {"text": 'say "hi",\nthen\tgo\r\n…', "label": "ü"}]


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_what_is_written_comes_back(tmp_path, kind):
    path = tmp_path / "deep" / f"t.{kind}"
    write_table(path, ["text", "label"], ROWS)
    table = read_table(path)
    assert table.columns == ("text", "label")
    assert table.texts("text") == [row["text"] for row in ROWS]
    assert table.labels("label") == ["a", "ü"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"text": ["x", "y", "z"], "label": [3, 5, 3], "gpt": [3, None, 4], "float": [1.0, 2.0, 1.0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.texts("text") == ["x", "y", "z"]
    assert table.labels("label") == [3, 5, 3]
    assert table.labels("float") == [1, 2, 1]
    assert table.cells("gpt") == [3, None, 4]
    with pytest.raises(TableError, match=r"row 1, column 'label': got 3 \(int\) but expected a text"):
        table.texts("label")
    put(tmp_path / "no.parquet", "no")
    with pytest.raises(TableError, match=r"no\.parquet: unreadable as Parquet"):
        read_table(tmp_path / "no.parquet")


def test_text_kinds_need_the_standard_library_alone(tmp_path):
    put(tmp_path / "t.csv", "text,label\nx,1\n")
    code = (
        "import sys\n"
        "from dsplus_chains.tables.reading import read_table\n"
        f"print(read_table({str(tmp_path / 't.csv')!r}).labels('label'))\n"
        "print([name for name in ('pandas', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[1]", "[]"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    table = read_table(put(tmp_path / "t.csv", "text,label\ngrün,1\n".encode(encoding)))
    assert table.texts("text") == ["grün"]


def test_line_ends_blank_lines_and_long_fields(tmp_path):
    long = "x" * 300_000
    table = read_table(put(tmp_path / "t.csv", f'text,label\r\n"a\r\nb",1\r\n\r\n{long},2\r\n'))
    assert table.texts("text") == ["a\r\nb", long]
    lines = read_table(put(tmp_path / "t.jsonl", '{"text": "a\u2028b"}\n\n{"text": "c", "label": 1}'))
    assert lines.texts("text") == ["a\u2028b", "c"]
    assert lines.columns == ("text", "label")


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["7", "-1", "0"], [7, -1, 0]),
        (["7", "007", "1"], ["7", "007", "1"]),
        (["7", "x", "1"], ["7", "x", "1"]),
        (["1.0", "2.0", "1.0"], ["1.0", "2.0", "1.0"]),
        ([" a", "b ", "a"], ["a", "b", "a"]),
        (["True", "False", "True"], ["True", "False", "True"]),
    ],
)
def test_the_type_of_labels_in_a_file_of_strings(tmp_path, cells, labels):
    table = read_table(put(tmp_path / "t.csv", "label,x\n" + "".join(f"{cell},x\n" for cell in cells)))
    assert table.labels("label") == labels
    assert {type(label) for label in table.labels("label")} == {type(labels[0])}


@pytest.mark.parametrize(
    ("known", "cells", "labels"),
    [
        ([1, 2], ["1", "2.0", " 2"], [1, 2, 2]),
        (["1", "2"], ["1", "2", " 2"], ["1", "2", "2"]),
        ([True, False], ["true", "FALSE", "True"], [True, False, True]),
        (["1", "2"], ["2", "1", "1"], ["2", "1", "1"]),
    ],
)
def test_known_labels_decide(tmp_path, known, cells, labels):
    table = read_table(put(tmp_path / "t.csv", "label,x\n" + "".join(f"{cell},x\n" for cell in cells)))
    found = table.labels("label", known=known)
    assert found == labels
    assert {type(label) for label in found} == {type(known[0])}


def test_labels_with_a_type_of_their_own(tmp_path):
    def table(values):
        return read_table(put(tmp_path / "t.jsonl", "".join(json.dumps({"label": value}) + "\n" for value in values)))

    assert table([True, False]).labels("label") == [True, False]
    assert table([1.0, 2]).labels("label") == [1, 2]
    assert table(["1", "2"]).labels("label") == ["1", "2"]
    assert table([1, 2]).labels("label", known=[1, 2]) == [1, 2]
    with pytest.raises(TableError, match=r"row 2, column 'label': got '2' \(str\) but expected"):
        table([1, "2"]).labels("label")
    with pytest.raises(TableError, match=r"row 1, column 'label': got the label True, unseen"):
        table([True]).labels("label", known=[1, 2])
    with pytest.raises(TableError, match=r"row 2, column 'label': got \[2\] \(list\)"):
        table([1, [2]]).labels("label")
    with pytest.raises(TableError, match=r"row 1, column 'label': got the label \[2\], unseen"):
        table([[2]]).labels("label", known=[1, 2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t\.csv: got a file without rows"),
        ("t.csv", "text,label\n", r"t\.csv: got a file without rows"),
        ("t.csv", "text,text\nx,y\n", r"t\.csv: got the column 'text' twice"),
        ("t.csv", "text,label\nx,1\ny\n", r"t\.csv, row 2 \(line 3\), column 'label': got 1 fields but expected 2"),
        ("t.csv", "text,label\nx,1\na,b,2\n", r"t\.csv, row 2 \(line 3\): got 3 fields but expected 2"),
        ("t.csv", 'text,label\n"x,1\ny,2\n', r"t\.csv, row 1 \(line \d\): unreadable"),
        ("t.csv", 'text,label\n"x"y,1\n', r"t\.csv, row 1 \(line 2\): unreadable"),
        ("t.csv", "text,label\nx,1\n\xfc,2\n".encode("latin-1"), r"t\.csv, line 3: got bytes that are no UTF-8"),
        ("t.jsonl", '{"text": "x"}\n{"text": \n', r"t\.jsonl, row 2 \(line 2\): unreadable as JSON"),
        ("t.jsonl", '{"text": "x"}\n\n[1]\n', r"t\.jsonl, row 2 \(line 3\): got \[1\] but expected an object"),
        ("t.jsonl", "", r"t\.jsonl: got a file without rows"),
        ("t.xls", "", r"t\.xls: got a file of the kind '\.xls' but expected one of \.csv, \.tsv"),
    ],
)
def test_an_unreadable_file_says_where(tmp_path, name, content, message):
    with pytest.raises(TableError, match=message) as found:
        read_table(put(tmp_path / name, content))
    assert "\n" not in str(found.value)
    assert isinstance(found.value, ValueError)


@pytest.mark.parametrize(
    ("written", "encoding", "advice"),
    [
        ("utf-8", "utf-16", "begins with no mark, so say utf-16-le, or leave the encoding out for UTF-8"),
        ("utf-16-be", "UTF16", "begins with no mark, so say utf-16-be, or"),
        ("utf-8", "utf-32", "begins with no mark, so say utf-32-le, or"),
    ],
)
def test_a_file_without_the_mark_that_its_encoding_needs_says_where_and_what_to_do(tmp_path, written, encoding, advice):
    path = put(tmp_path / "t.csv", "text,label\nx\u00fc,1\n".encode(written))
    with pytest.raises(TableError, match=rf"t\.csv, line 1: got bytes that are no .*{advice}"):
        read_table(path, encoding=encoding)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(TableError, match=r"t\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(TableError, match=r"f\.csv: cannot be read"):
        read_table(tmp_path / "f.csv")


def test_a_bad_cell_says_where(tmp_path):
    table = read_table(put(tmp_path / "t.csv", "text,label\nx,a\n  ,a\nz,\n"))
    with pytest.raises(TableError, match=r"t\.csv, row 2, column 'text': got an empty cell but expected a text"):
        table.texts("text")
    with pytest.raises(TableError, match=r"t\.csv, row 3, column 'label': got an empty cell but expected a label"):
        table.labels("label")
    with pytest.raises(TableError, match=r"t\.csv: got no column 'txt'; its columns are 'text', 'label'"):
        table.texts("txt")
    unseen = read_table(put(tmp_path / "u.csv", "label,x\na,1\nc,1\n"))
    with pytest.raises(TableError, match=r"u\.csv, row 2, column 'label': got the label 'c', unseen in training"):
        unseen.labels("label", known=["a", "b"])
    lines = read_table(put(tmp_path / "t.jsonl", '{"text": "\\ud800"}\n{"text": NaN}\n'))
    with pytest.raises(TableError, match=r"row 1, column 'text': got half a surrogate pair"):
        lines.texts("text")


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path):
    path = put(tmp_path / "out.csv", "earlier\n")

    def rows():
        yield {"a": 1}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(path, ["a"], rows())
    assert path.read_text() == "earlier\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(TableError, match=r"expected \.csv, \.tsv, \.jsonl or \.parquet"):
        write_table(tmp_path / "out.xlsx", ["a"], [])


def test_what_json_has_no_word_for_is_null_or_text(tmp_path):
    nan, inf = float("nan"), float("inf")
    row = {"a": nan, "b": -inf, "c": [1.5, {"d": nan, "e": (inf,)}], "f": "é".encode(), "g": b"\xff", "h": [b"\xff"]}

    def strict(line):
        return json.loads(line, parse_constant=pytest.fail)

    plain = {"a": None, "b": None, "c": [1.5, {"d": None, "e": [None]}], "f": "é", "g": "/w==", "h": ["/w=="]}
    write_table(tmp_path / "t.jsonl", list(row), [row])
    assert strict((tmp_path / "t.jsonl").read_text(encoding="utf-8")) == plain
    write_table(tmp_path / "t.csv", list(row), [row])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        _, cells = csv.reader(file)
    assert cells[:2] == ["", "-inf"]
    assert [strict(cells[2]), *cells[3:5], strict(cells[5])] == [plain["c"], "é", "/w==", ["/w=="]]


def test_keys_are_texts_and_numpy_has_nan_too(tmp_path):
    keys = {math.nan: 1, 1.5: 2, True: 3, None: 4, 2: 5, (1, "a"): 6, "é".encode(): 7}
    row = {"d": keys, "n": np.float32("nan"), "m": [np.float32("inf"), np.float64("nan"), False, 10**400]}
    write_table(tmp_path / "t.jsonl", list(row), [row])
    written = json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert written["d"] == {"nan": 1, "1.5": 2, "true": 3, "null": 4, "2": 5, "(1, 'a')": 6, "é": 7}
    assert (written["n"], written["m"]) == (None, [None, None, False, 10**400])
    write_table(tmp_path / "t.csv", ["n", "i"], [{"n": np.float32("nan"), "i": 10**400}])
    assert (tmp_path / "t.csv").read_text() == f"n,i\n,{10**400}\n"
