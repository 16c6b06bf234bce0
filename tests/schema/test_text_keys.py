from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from clock import at_most
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.schema import first_copies, text_hash, text_key

COPIES = [
    ("Broke at once.", "broke at once"),
    ("Broke at once", "BROKE AT ONCE!!!"),
    ("broke  at\tonce\n", " broke at once"),
    ("broke\u00a0at once", "broke at once"),  # a no-break space
    ("bro\u00adke at\u200b once", "broke at once"),  # a soft hyphen, and a space of no width
    ("don't", "don’t"),
    ("don't", "dont"),
    ("e-mail", "e–mail"),
    ("“great”", '"great"'),
    ("café", "cafe\u0301"),
    ("café", "cafe"),
    ("ＡＢＣ１", "abc1"),
    ("ﬁne", "fine"),
    ("straße", "STRASSE"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("Ёлка", "елка"),
    ("سَلام", "سلام"),
    ("❤\ufe0f", "❤"),
    ("负面。", "负面"),
    ("costs 1.5", "costs 1,5"),
    ("half a \ud83d", "half a"),
]
OTHERS = [
    ("good", "not good"),
    ("costs 1.5", "costs 15"),
    ("1 000", "1000"),
    ("12/03", "1/203"),
    ("great 😀", "great 😡"),
    ("C++", "C"),
    ("$5", "5 €"),
    ("a < b", "a > b"),
    ("ハス", "バス"),
    ("हिन्दी", "हीन्दी"),
    ("?", "!"),
    ("≠", "="),
]


@pytest.mark.parametrize(("one", "other"), COPIES)
def test_texts_that_read_alike_are_copies(one, other):
    assert text_key(one) == text_key(other)
    assert text_hash(one) == text_hash(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_texts_that_say_something_else_are_not(one, other):
    assert text_key(one) != text_key(other)
    assert text_hash(one) != text_hash(other)


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_no_unicode_form_and_no_white_space_around_makes_another_text(text, form):
    assert text_key(unicodedata.normalize(form, text)) == text_key(text) == text_key(f" {text}\n")


@given(st.text(), st.text(alphabet=" \t\n.,;:!?'\"()-–—…«»„“¿", max_size=5))
def test_no_punctuation_at_the_end_makes_another_text(text, marks):
    if any(character.isalnum() for character in text_key(text)):
        assert text_key(text + marks) == text_key(text)


@given(st.text(alphabet=st.characters(codec="latin-1")))
def test_no_capital_letters_make_another_text(text):
    assert text_key(text.upper()) == text_key(text.lower()) == text_key(text)


@given(st.lists(st.integers(0, 5)))
def test_first_copies_are_the_groups_of_pandas(values):
    codes, _ = pd.factorize(pd.Series(values, dtype="int64"))
    found = first_copies(values)
    assert [found[row] <= row for row in range(len(values))] == [True] * len(values)
    assert pd.factorize(pd.Series(found, dtype="int64"))[0].tolist() == codes.tolist()


def test_a_long_text_of_white_space_takes_no_longer_than_another():
    with at_most(5):
        key = text_key("1 " + " ." * 300_000 + " 1")
    assert key == "1 1"


def test_the_hash_stays_what_bundles_hold():
    assert text_hash("Broke at once.") == 6917035079580120457
