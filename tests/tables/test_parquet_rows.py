"""Rows become a Parquet file with the types of their values, and nothing that a row holds is lost."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.tables import read_table, write_table
from dsplus_chains.tables.typed_files import PIECE

parquet = pytest.importorskip("pyarrow.parquet")


def written(path, values):
    """A column of these values, as another reader finds it."""
    write_table(path / "t.parquet", ["id", "value"], [{"id": n, "value": value} for n, value in enumerate(values)])
    table = parquet.read_table(path / "t.parquet")
    assert table["id"].to_pylist() == list(range(len(values)))
    return str(table["value"].type), table["value"].to_pylist()


WHOLE = {
    "texts": (["a", "ü", None, ""], "string"),
    "integers": ([1, None, 2**62], "int64"),
    "numbers": ([1, 2.5, None], "double"),
    "truths": ([True, None, False], "bool"),
    "times": ([dt.datetime(2026, 1, 2, 3, 4, 5, 678)], "timestamp[us]"),
    "days": ([dt.date(2026, 1, 2)], "date32[day]"),
    "bytes": ([b"\xff", b""], "binary"),
    "lists": ([["a", "b"], [], None], "list<element: string>"),
    "objects": ([{"a": 1}, {"a": 2}], "struct<a: int64>"),
    "gaps": ([None, None], "null"),
    "no row": ([], "null"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_values_of_one_type_keep_it(tmp_path, kind):
    values, name = WHOLE[kind]
    assert written(tmp_path, values) == (name, values)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a", 1, 2.5, True, None], ["a", "1", "2.5", "True", None]),
        ([{"a": 1}, "x", math.nan], ['{"a": 1}', "x", None]),
        ([{}, {}], ["{}", "{}"]),
        ([10**30, 1], [str(10**30), "1"]),
        ([2**53 + 1, 0.5], [str(2**53 + 1), "0.5"]),
        (["\ud800 half"], ["? half"]),
    ],
)
def test_what_no_type_holds_is_text(tmp_path, values, texts):
    assert written(tmp_path, values) == ("string", texts)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("first", "later", "name"),
    [(1, 2.5, "double"), (None, 7, "int64"), (3, "three", "string"), (2**53 + 1, 0.5, "string")],
)
def test_a_value_far_below_counts_for_the_type(tmp_path, first, later, name, early):
    values = [first] * (PIECE + 1) + [later]
    kind, found = written(tmp_path, values if early else values[::-1])
    expected = [None if value is None else str(value) for value in values] if name == "string" else values
    assert (kind, found) == (name, expected if early else expected[::-1])


@given(st.lists(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(), st.booleans())))
def test_each_value_is_there_as_it_is_or_as_text(tmp_path_factory, values):
    kind, found = written(tmp_path_factory.mktemp("t"), values)
    if kind != "string":
        assert found == values
    assert [value is None for value in found] == [value is None for value in values]


def test_it_is_read_back_as_a_table(tmp_path):
    rows = [{"text": f"text {n}", "label": "yes"} for n in range(PIECE + 7)]
    write_table(tmp_path / "t.parquet", ["text", "label"], iter(rows))
    assert read_table(tmp_path / "t.parquet").rows == tuple(rows)
