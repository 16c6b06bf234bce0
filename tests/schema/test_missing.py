"""One rule for what is missing: it holds for cells of every library, and wherever a column is read."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.evaluation import evaluate
from dsplus_chains.schema import InvalidInputError, Prediction, as_cell, clean_answers, clean_labels, is_missing
from dsplus_chains.schema.columns import column_of, read_confidences
from dsplus_chains.tuning.threshold_tuning import tune_threshold

pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")

GAPS = {
    "None": None,
    "NaN": math.nan,
    "NaN of numpy": np.float64("nan"),
    "short NaN": np.float16("nan"),
    "NaN of Decimal": Decimal("nan"),
    "pd.NA": pd.NA,
    "pd.NaT": pd.NaT,
    "NaT of numpy": np.datetime64("NaT"),
    "timedelta NaT": np.timedelta64("NaT"),
    "masked": np.ma.masked,
    "null of pyarrow": pa.scalar(None, pa.string()),
    "NaN of pyarrow": pa.scalar(math.nan),
    "empty": "",
    "spaces": " \t\n\u00a0",
    "invisible": "\u200b\ufeff",
}
N = 40
SURE = Prediction(label="ham", confidence=0.9, probabilities={"ham": 0.9, "spam": 0.1})
UNSURE = Prediction(label="ham", confidence=0.6, probabilities={"ham": 0.6, "spam": 0.4})
PREDICTIONS = [SURE, UNSURE] * (N // 2)
LABELS = ["ham", "spam"] * (N // 2)


def with_gap(gap):
    return [*LABELS[:-1], gap]


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_a_gap_is_missing_wherever_a_column_is_read(gap):
    assert is_missing(gap)
    assert as_cell(gap) is None
    assert clean_answers(["ham", gap]) == ["ham", None]
    with pytest.raises(InvalidInputError, match="no label in row 1"):
        clean_labels(["ham", gap])
    assert read_confidences([0.5, gap]) == [0.5, None]
    expected = tune_threshold(PREDICTIONS, LABELS, with_gap(None), large_confidences=[0.9] * (N - 1) + [None])
    tuned = tune_threshold(PREDICTIONS, LABELS, with_gap(gap), large_confidences=[0.9] * (N - 1) + [gap])
    assert tuned == expected
    assert tuned.unanswered == 1


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "nan", "None", "NA", "-", np.int64(0), Decimal(0), [], "\u2603"])
def test_what_is_there_is_not_missing(value):
    assert not is_missing(value)


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "objects of numpy": lambda cells: np.array(cells, dtype=object),
    "objects of pandas": lambda cells: pd.Series(cells, dtype=object),
    "strings of pandas": lambda cells: pd.Series(cells, dtype="string"),
    "index of pandas": pd.Index,
    "categories": lambda cells: pd.Series(cells, dtype="category"),
    "one column of a frame": lambda cells: pd.DataFrame({"x": cells})["x"],
    "a frame of one column": lambda cells: pd.DataFrame({"x": cells}),
    "pyarrow": pa.array,
    "chunks of pyarrow": lambda cells: pa.chunked_array([cells]),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_column_of_any_library_gives_the_same_threshold(column):
    cells = with_gap(None)
    assert clean_answers(column(cells)) == cells
    assert tune_threshold(PREDICTIONS, column(LABELS), column(cells)) == tune_threshold(PREDICTIONS, LABELS, cells)
    record = [{"prediction": SURE, "answer": "ham", "source": "small"}] * N
    assert evaluate(record, column(LABELS), large_answers=column(cells)).large_accuracy == (N - 1) / N


NUMBERS = {
    "floats of pandas": lambda: pd.Series([1, 2, None]),
    "Int64 of pandas": lambda: pd.Series([1, 2, None], dtype="Int64"),
    "Float64 of pandas": lambda: pd.Series([1, 2, None], dtype="Float64"),
    "objects of pandas": lambda: pd.Series([1, 2, None], dtype=object),
    "pyarrow in pandas": lambda: pd.Series([1, 2, None], dtype="int64[pyarrow]"),
    "numpy": lambda: np.array([1, 2, np.nan]),
    "half floats": lambda: np.array([1, 2, np.nan], dtype=np.float16),
    "masked": lambda: np.ma.masked_array([1, 2, 3], mask=[False, False, True]),
    "list": lambda: [1.0, 2, math.nan],
    "decimals": lambda: [Decimal("1.0"), Decimal(2), Decimal("nan")],
    "pyarrow": lambda: pa.array([1, 2, None]),
    "pyarrow floats": lambda: pa.array([1.0, 2.0, None]),
}


@pytest.mark.parametrize("column", NUMBERS.values(), ids=NUMBERS)
def test_integers_with_a_gap_stay_integers(column):
    cells = clean_answers(column())
    assert cells == [1, 2, None]
    assert [type(cell) for cell in cells[:2]] == [int, int]
    with pytest.raises(InvalidInputError, match="no label in row 2"):
        clean_labels(column())


@pytest.mark.parametrize(
    "given", ["ham", b"ham", {"a": 1}, {"a"}, 7, None, np.zeros((2, 2)), pd.DataFrame({"a": [1], "b": [2]})]
)
def test_what_is_no_column_is_refused(given):
    with pytest.raises(InvalidInputError, match="expected a list, an array, or one column of a data frame"):
        column_of(given, "labels")


@given(
    st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.decimals()), st.lists)
)
def test_any_value_is_a_cell_or_a_gap(value):
    cell = as_cell(value)
    assert (cell is None) == is_missing(value)
    assert as_cell(cell) == cell
