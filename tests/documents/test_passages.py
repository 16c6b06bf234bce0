from __future__ import annotations

import pytest
from clock import at_most
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.documents.passages import cut
from dsplus_chains.schema import InvalidInputError


def texts(text, split):
    return [part.text for part in cut(text, split)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It broke. It broke!  It ... broke?! Yes", ["It broke.", "It broke!", "It ...", "broke?!", "Yes"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Dr. J. Bell saw the U.S. shop, e.g. Apple. So did I. Fine.", ["Dr. J. Bell saw the U.S. shop, e.g. Apple.",
                                                                     "So did I.", "Fine."]),
        ("It costs 3.50 at shop.com now. ok", ["It costs 3.50 at shop.com now.", "ok"]),
        ("A headline\n\nThe story\ngoes on.", ["A headline", "The story\ngoes on."]),
        ("很好。我喜欢！", ["很好。", "我喜欢！"]),
        ("", []),
        (" \n\n ", []),
    ],
)  # fmt: skip
def test_sentences(text, expected):
    assert texts(text, "sentences") == expected


def test_paragraphs_end_at_blank_lines():
    assert texts("one\ntwo\n \nthree\n\n\n\nfour\n", "paragraphs") == ["one\ntwo", "three", "four"]


@given(st.text(alphabet='ab. !?\n"A', max_size=60), st.sampled_from(["sentences", "paragraphs"]))
def test_what_is_cut_stands_where_it_says_and_nothing_but_white_space_is_lost(text, split):
    parts = cut(text, split)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    end = 0
    for part in parts:
        assert text[part.start : part.end] == part.text == part.text.strip() != ""
        assert not text[end : part.start].strip()
        end = part.end
    assert not text[end:].strip()


def windows(size, step):
    return lambda text: [text[start : start + size] for start in range(0, max(1, len(text) - size + step), step)]


def test_pieces_of_a_function_are_found_though_they_repeat_or_overlap():
    assert [part.start for part in cut("a a a", lambda text: ["a a", "a"])] == [0, 4]
    text = "abcdefghij"
    assert [(part.start, part.text) for part in cut(text, windows(4, 3))] == [(0, "abcd"), (3, "defg"), (6, "ghij")]


def test_a_piece_that_the_splitter_changed_has_no_offset():
    class Upper:
        def split_text(self, text):
            return [text.upper(), " ", "two"]

    assert [(part.number, part.start, part.text) for part in cut("one two", Upper())] == [
        (1, None, "ONE TWO"),
        (2, 4, "two"),
    ]


def test_a_splitter_that_returns_no_texts_is_named():
    with pytest.raises(InvalidInputError, match=r"Got 7 \(int\) from a splitter"):
        cut("x", lambda text: [7])


@pytest.mark.parametrize("pattern", [".", "x.", ".'", "\n", " ", "\n ", "a.b", "Mr."])
@pytest.mark.parametrize("split", ["sentences", "paragraphs"])
def test_no_text_takes_longer_than_its_length_deserves(pattern, split):
    text = pattern * 200_000 + "x"
    with at_most(5):
        parts = cut(text, split)
    assert parts[-1].text.endswith("x")
    assert all(text.startswith(part.text, part.start) for part in parts)


def test_a_splitter_that_changes_what_it_cuts_takes_no_longer_than_the_text_deserves():
    text = "abcdefgh " * 100_000
    with at_most(10):
        parts = cut(text, lambda text: [f"{word}!" for word in text.split()])
    assert {part.start for part in parts} == {None}


def test_near_the_last_find_pieces_are_found_however_many_were_changed(monkeypatch):
    monkeypatch.setattr("dsplus_chains.documents.passages._PATIENCE", 20)
    text = "one two three four"
    pieces = ["ONE", "two", "THREE", "four"]
    assert [part.start for part in cut(text, lambda text: pieces)] == [None, 4, None, 14]
    far = f"one{' ' * 6000}two"
    assert [part.start for part in cut(far, lambda text: ["one", "TWO", "two"])] == [0, None, None]
    assert [part.start for part in cut(far, lambda text: ["one", "two"])] == [0, 6003]


@pytest.mark.parametrize("split", ["sentences", "paragraphs", str.split], ids=str)
@pytest.mark.parametrize("piece", ["It broke.\n\n", "a. \n\n", "。！\n\n", "x\n\n"])
def test_a_text_of_too_many_parts_is_refused_before_it_is_cut_to_its_end(split, piece):
    text = piece * (3_000_000 // len(piece))
    told = rf"a text of {len(text)} characters in more than max_parts=100 parts"
    with at_most(1), pytest.raises(InvalidInputError, match=told):
        cut(text, split, max_parts=100)


@given(st.lists(st.sampled_from(["One. ", "Two!\n\n", "a b "]), max_size=8).map("".join), st.integers(1, 8))
def test_a_bound_changes_nothing_below_it(text, most):
    parts = cut(text, "sentences")
    if len(parts) <= most:
        assert cut(text, "sentences", max_parts=most) == parts
    else:
        with pytest.raises(InvalidInputError):
            cut(text, "sentences", max_parts=most)
