"""What cannot train a classifier is refused, with its row, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

from dsplus_chains.prompting.alike import labels_alike
from dsplus_chains.schema import LabelWarning, TrainingDataError
from dsplus_chains.scoring.training_examples import check_examples
from dsplus_chains.task import LabelTask

BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00", "\x1b", "\ud83d"]


@pytest.mark.parametrize("broken", BREAKS)
def test_a_label_of_several_lines_is_refused_wherever_labels_are_given(broken):
    with pytest.raises(TrainingDataError, match=r"labels\[2\]=.* a string of one line"):
        check_examples(["a", "b", "c", "d"], ["spam", "spam", f"not{broken}spam", f"not{broken}spam"])
    with pytest.raises(ValueError, match="expected one line without control characters"):
        LabelTask(labels=["spam", f"not{broken}spam"])


HALVES = ["{}", "cut {}", "{} off", "a{}b", "x{}\n", "\u00e9 {}", "{0}{0}"]


@pytest.mark.parametrize("half", [0xD83D, 0xDE00])
@pytest.mark.parametrize("text", HALVES)
def test_half_of_a_character_is_refused_with_its_row(text, half):
    text = text.format(chr(half))
    with pytest.raises(TrainingDataError, match=r"texts\[1\]=.* half of a character") as found:
        check_examples(["fine", text], ["x", "y"])
    str(found.value).encode()


MISSING = {"None": None, "NaN": np.nan, "empty": "", "blank": " \n", "NaT": np.datetime64("NaT"), "invisible": "\u200b"}


@pytest.mark.parametrize("gap", MISSING.values(), ids=MISSING)
def test_a_gap_is_named_with_its_own_row(gap):
    with pytest.raises(TrainingDataError, match=r"texts\[3\]="):
        check_examples(["a", "b", "c", gap], ["x", "y", "x", "y"])
    with pytest.raises(TrainingDataError, match=r"labels\[3\]="):
        check_examples(["a", "b", "c", "d"], ["x", "y", "x", gap])


def test_an_integer_column_with_a_gap_names_the_gap_and_without_one_is_integers():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TrainingDataError, match=r"labels\[2\]=nan"):
        check_examples(["a", "b", "c", "d"], pandas.Series([1, 2, None, 1]))
    with pytest.raises(TrainingDataError, match=r"labels\[2\]=<NA>"):
        check_examples(["a", "b", "c", "d"], pandas.Series([1, 2, None, 1], dtype="Int64"))
    assert check_examples(["a", "b", "c", "d"], pandas.Series([1.0, 2.0, 2.0, 1.0]))[1] == (1, 2)
    with pytest.raises(TrainingDataError, match=r"labels\[1\]=0\.5"):
        check_examples(["a", "b"], [1.0, 0.5])


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["Card lost", "top up", "card_lost"], ("Card lost", "card_lost")),
        (["spam", "Spam"], ("spam", "Spam")),
        (["spam", " spam"], ("spam", " spam")),
        (["spam", "spam."], ("spam", "spam.")),
        (["a  b", "a b"], ("a  b", "a b")),
        (["a-b", "a b"], ("a-b", "a b")),
        (["caf\u00e9", "cafe\u0301"], ("caf\u00e9", "cafe\u0301")),
        (["\uff21", "A"], ("\uff21", "A")),
        (["stra\u00dfe", "STRASSE"], ("stra\u00dfe", "STRASSE")),
        (["spam\u200b", "spam"], ("spam\u200b", "spam")),
        (["a\u2013b", "a-b"], ("a\u2013b", "a-b")),
        (["C", "C++", "C#"], None),
        (["+1", "-1", "1"], None),
        (["<5", ">5", "5"], None),
        (["+", "-"], None),
        ([":)", ":("], None),
        ([True, False], None),
        ([1, 2, 12], None),
    ],
)
def test_labels_that_read_alike_are_told(labels, alike):
    assert labels_alike(labels) == alike
    if alike is not None:
        with pytest.warns(LabelWarning, match="read alike"):
            LabelTask(labels=labels)
