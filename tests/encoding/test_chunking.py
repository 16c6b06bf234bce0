from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplus_chains.encoding.windows import pieces_of, pool


class WordTokenizer:
    """A token a word, with offsets, as a Hugging Face fast tokenizer gives them."""

    def __call__(self, text, **_):
        offsets, start = [], 0
        for word in text.split():
            start = text.index(word, start)
            offsets.append((start, start + len(word)))
            start += len(word)
        return {"offset_mapping": offsets}


@given(st.lists(st.text("abcé", min_size=1), min_size=1, max_size=40), st.integers(1, 7))
def test_no_word_is_lost_and_no_piece_is_too_long(words, window):
    pieces, sizes = pieces_of(" ".join(words), WordTokenizer(), window, most=1000)
    assert [word for piece in pieces for word in piece.split()] == words
    if len(pieces) > 1:
        assert [len(piece.split()) for piece in pieces] == sizes
        assert max(sizes) <= window


def test_a_text_that_fits_is_untouched():
    assert pieces_of(" a  b ", WordTokenizer(), 10, most=3) == ([" a  b "], [6])
    assert pieces_of("é  b", WordTokenizer(), 2, most=3) == (["é  b"], [2])


def test_of_a_very_long_text_pieces_are_taken_all_over_it():
    pieces, _ = pieces_of(" ".join(f"é{i}" for i in range(100)), WordTokenizer(), 1, most=5)
    assert pieces == ["é0", "é25", "é50", "é74", "é99"]


def test_pooling_weighs_by_tokens_and_keeps_the_length():
    vectors = np.array([[1, 0], [0, 1], [0, 2]], dtype=np.float32)
    pooled = pool(vectors, [0, 0, 1], [3, 1, 5], 2)
    assert pooled[0] == pytest.approx(np.array([3, 1]) / np.sqrt(10))
    assert pooled[1] == pytest.approx([0, 2])


def test_vectors_that_cancel_out_pool_to_zero():
    assert pool(np.array([[1, 0], [-1, 0]], dtype=np.float32), [0, 0], [1, 1], 1).tolist() == [[0, 0]]
