"""Tables as other programs write them, and as users write them by hand."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.tables.reading import read_table
from dsplus_chains.tables.table_error import TableError
from dsplus_chains.tables.writing import write_table


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(table):
    return [tuple(row.get(column) for column in table.columns) for row in table.rows]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('"hi\ta\nsay "x"\tc\n"end\td\nz"\te\n', [('"hi', "a"), ('say "x"', "c"), ('"end', "d"), ('z"', "e")]),
        ('5" pipe\tx\n', [('5" pipe', "x")]),
        ('"one" and "two"\tx\n', [('"one" and "two"', "x")]),
        ('"open\tx\nnext\ty\n', [('"open', "x"), ("next", "y")]),
        ('open"\tx\n"next\ty\n', [('open"', "x"), ('"next', "y")]),
        ('"\tx\n"\ty\n', [('"', "x"), ('"', "y")]),
        ('"a"\tx\n"b" c\ty\n', [('"a"', "x"), ('"b" c', "y")]),
        ('"a ""q"" b"\tx\n"c"\ty\n', [('a "q" b', "x"), ("c", "y")]),
        ('"a\nb"\tx\nc\ty\n', [("a\nb", "x"), ("c", "y")]),
        ('"a\tb"\tx\nc\ty\n', [("a\tb", "x"), ("c", "y")]),
        ("it's\tx\n'q'\ty\n", [("it's", "x"), ("'q'", "y")]),
        ("\tx\na\t\n", [("", "x"), ("a", "")]),
    ],
)  # fmt: skip
def test_quotes_between_tabs_merge_no_rows(tmp_path, content, rows):
    assert cells(read_table(put(tmp_path / "t.tsv", f"text\tlabel\n{content}"))) == rows


def test_one_column_between_tabs_is_read_unless_its_quotes_mean_two_things(tmp_path):
    assert cells(read_table(put(tmp_path / "t.tsv", 'text\n"a\nb\n'))) == [('"a',), ("b",)]
    assert cells(read_table(put(tmp_path / "t.tsv", '"text"\n"a\nb"\n'))) == [("a\nb",)]
    with pytest.raises(TableError, match="quote the header too"):
        read_table(put(tmp_path / "t.tsv", 'text\n"a\nb"\n'))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), st.sampled_from(["csv", "tsv", "jsonl"]))
def test_whatever_is_written_comes_back(tmp_path_factory, rows, kind):
    rows = [(f"x{text}", f"{label}y") for text, label in rows]
    path = tmp_path_factory.mktemp("t") / f"t.{kind}"
    write_table(path, ["text", "label"], [dict(zip(("text", "label"), row, strict=True)) for row in rows])
    assert cells(read_table(path)) == rows


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6), st.sampled_from([",", ";", "|", ":"]))
def test_another_programs_file_is_read_with_its_delimiter(tmp_path_factory, rows, delimiter):
    rows = [(f"x{text}", f"{label}y") for text, label in rows]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([("text", "label"), *rows])
    path = put(tmp_path_factory.mktemp("t") / "t.csv", written.getvalue())
    assert cells(read_table(path, delimiter=delimiter)) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("text;label\nhi, there;a\nb;c\n", [("hi, there", "a"), ("b", "c")]),
        ('text;label\n"a;b";x\n', [("a;b", "x")]),
        ("text\tlabel\nhi, there\ta\n", [("hi, there", "a")]),
        ("text|label\nhi|a\n", [("hi", "a")]),
        ("sep=;\ntext;label\nhi, there;a\n", [("hi, there", "a")]),
        ("sep=;\r\n\r\ntext;label\r\nhi;a\r\n", [("hi", "a")]),
        ("text, label\nhi, a\n", [("hi", "a")]),
        ('text, label\n"a, b", "x, y"\n', [("a, b", "x, y")]),
        (" text ,label \nhi,a\n", [("hi", "a")]),
        ("text,label,\nhi,a,\nbye,b,\n", [("hi", "a"), ("bye", "b")]),
        ("text,label\nhi,a\n,\n,\n", [("hi", "a")]),
        ('text,label\r"hi",a\rb,c\r', [("hi", "a"), ("b", "c")]),
        ("\ufefftext;label\nhi;a\n", [("hi", "a")]),
    ],
)
def test_files_of_excel_and_of_hand_are_read(tmp_path, content, rows):
    table = read_table(put(tmp_path / "t.csv", content))
    assert table.columns == ("text", "label")
    assert cells(table) == rows


@pytest.mark.parametrize(
    ("name", "content", "options", "hint"),
    [
        ("t.csv", "text;label\nhi;a\nb;c;d\n", {}, "--delimiter semicolon"),
        ("t.csv", "text|label\nhi|a\nb|c|d\n", {}, "--delimiter pipe"),
        ("t.tsv", "text,label\nhi,a\nb,c,d\n", {}, "--delimiter comma"),
        ("t.csv", "text,label\nhi;there,a\n", {"delimiter": ";"}, "--delimiter comma"),
        ("t.csv", "text,label\ncaf\xe9,a\n".encode("cp1252"), {}, "--encoding cp1252"),
        ("t.jsonl", '{"text": "caf\xe9"}'.encode("cp1252"), {}, "--encoding cp1252"),
        ("t.csv", "text,label\nhi,a\n".encode("utf-16-le"), {}, "--encoding utf-16-le"),
        ("t.csv", "text,label\nhi,a\n".encode("utf-16-be"), {}, "--encoding utf-16-be"),
        ("t.csv", "text,label\nhi,a\n".encode("utf-16"), {"encoding": "cp1252"}, "leave it out"),
        ("t.csv", "text,label\nhi,a\n", {"encoding": "klingon"}, "such as utf-8, cp1252"),
        ("t.csv", "text,label\nhi,a\n", {"encoding": "rot13"}, "such as utf-8, cp1252"),
        ("t.csv", "text,label\nhi,a\n", {"delimiter": "::"}, "one character"),
        ("t.csv", "text,label\nhi,a\n", {"delimiter": '"'}, "one character"),
        ("t.csv", "text,label\nhi,a\n", {"delimiter": ""}, "one character"),
        ("t.jsonl", '{"text": "x"}', {"delimiter": ";"}, "leave it out"),
        ("t.parquet", b"PAR1", {"encoding": "cp1252"}, "leave it out"),
    ],
)
def test_what_cannot_be_read_names_the_option(tmp_path, name, content, options, hint):
    with pytest.raises(TableError) as found:
        read_table(put(tmp_path / name, content), **options).texts("text")
    assert hint in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8", "utf-16-le", "utf-16", "utf-32", "cp437"])
def test_an_encoding_that_is_named(tmp_path, encoding):
    for name, content in (("t.csv", "text,label\ncafé,a\n"), ("t.jsonl", '{"text": "café", "label": "a"}\n')):
        assert read_table(put(tmp_path / name, content.encode(encoding)), encoding=encoding).texts("text") == ["café"]


def test_excels_text_file(tmp_path):
    assert cells(read_table(put(tmp_path / "t.txt", "text\tlabel\ncafé\ta\n".encode("utf-16")))) == [("café", "a")]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ([{"text": "x", "label": 1}, {"text": "y", "label": 2}], [("x", 1), ("y", 2)]),
        ([{"text": "x", "label": 1}, {"text": "y"}], [("x", 1), ("y", None)]),
        ({"text": {"0": "x", "1": "y"}, "label": {"0": 1, "1": 2}}, [("x", 1), ("y", 2)]),
        ({"text": ["x", "y"], "label": [1, 2]}, [("x", 1), ("y", 2)]),
        ('{"text": "x", "label": 1}\n{"text": "y", "label": 2}\n', [("x", 1), ("y", 2)]),
    ],
)
def test_json_as_pandas_and_others_write_it(tmp_path, content, rows):
    table = read_table(put(tmp_path / "t.json", content if isinstance(content, str) else json.dumps(content)))
    assert table.columns == ("text", "label")
    assert cells(table) == rows


@pytest.mark.parametrize(
    "content", ["", "[]", "7", "[1]", '{"text": "x"}', '{"text": "x"', '{"a": ["x"], "b": []}', "[" * 100_000, "{}"]
)
def test_json_that_is_no_table(tmp_path, content):
    with pytest.raises(TableError, match=r"t\.json"):
        read_table(put(tmp_path / "t.json", content))


@pytest.mark.parametrize("orient", ["records", "columns"])
def test_json_of_pandas(tmp_path, orient):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"text": ["x", "y"], "label": ["2024-01-01", "1e5"]}).to_json(tmp_path / "t.json", orient=orient)
    assert cells(read_table(tmp_path / "t.json")) == [("x", "2024-01-01"), ("y", "1e5")]


def workbook(path, rows):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path):
    rows = [[None, None], ["text", " label ", "gpt"], ["hi", 5, "#N/A"], ["x", "5 ", None], [None, None, None]]
    table = read_table(workbook(tmp_path / "t.xlsx", rows))
    assert table.columns == ("text", "label", "gpt")
    assert table.texts("text") == ["hi", "x"]
    assert table.labels("label", known=[5, 6]) == [5, 5]
    assert table.cells("gpt") == [None, None]
    for bad in (workbook(tmp_path / "empty.xlsx", []), put(tmp_path / "no.xlsx", "no")):
        with pytest.raises(TableError, match=bad.name):
            read_table(bad)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "json", "xlsx", "csv", "tsv"])
def test_white_space_makes_no_second_label_in_any_kind_of_file(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    told = ["spam", " spam", "spam ", "spam\u00a0", "caf\u00e9", "cafe\u0301", "ham"]
    if kind == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"label": told, "x": told}), path)
    elif kind == "xlsx":
        workbook(path, [["label", "x"], *([cell, "x"] for cell in told)])
    elif kind == "json":
        put(path, json.dumps([{"label": cell} for cell in told]))
    else:
        write_table(path, ["label", "x"], [{"label": cell, "x": "x"} for cell in told])
    expected = ["spam"] * 4 + ["caf\u00e9"] * 2 + ["ham"]
    assert read_table(path).labels("label") == expected
    assert read_table(path).labels("label", known=["ham", "spam", "caf\u00e9"]) == expected


BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x00", "\x1b", "\ud83d", "\t"]


@pytest.mark.parametrize("broken", BREAKS)
def test_a_label_of_several_lines_is_refused_with_its_row(tmp_path, broken):
    rows = [{"text": "x", "label": "ham"}, {"text": "y", "label": f"not{broken}spam"}]
    path = put(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TableError, match=r"row 2, column 'label': got the label .* but expected one line"):
        read_table(path).labels("label")


@pytest.mark.parametrize("known", ["Card lost", "card lost", "CARD_LOST", "card-lost", "'card lost'", "Card lost."])
def test_a_label_that_reads_like_a_known_one_is_told(tmp_path, known):
    table = read_table(put(tmp_path / "t.csv", "label,x\ncard  lost,1\n"))
    with pytest.raises(TableError, match=r"unseen in training.*it reads like"):
        table.labels("label", known=["other", known])


def test_tables_can_be_read_in_threads(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("text,label\n" + f"{'x' * 200_000},a\n" * 20, encoding="utf-8")
    before = csv.field_size_limit()
    with ThreadPoolExecutor(8) as pool:
        assert [len(table.rows) for table in pool.map(lambda _: read_table(path), range(32))] == [20] * 32
    assert csv.field_size_limit() == before


def test_a_column_without_a_name_is_checked_too(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"": 5, "text": ["a"]}', encoding="utf-8")
    with pytest.raises(TableError, match="expected a column"):
        read_table(path)


def test_a_text_that_nobody_can_see_is_an_empty_cell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n\u200b,a\n", encoding="utf-8")
    with pytest.raises(TableError, match="an empty cell"):
        read_table(path).texts("text")
    assert read_table(path).texts("text", empty="keep") == [""]
    with pytest.raises(TableError, match="row 1, column 'text': got an empty cell but expected the path of an image"):
        read_table(path).texts("text", empty="keep", modality="image")
