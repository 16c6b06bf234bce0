"""Letter groups are those of scikit-learn, but each word is cut once."""

from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from dsplus_chains.scoring.members import neighbors
from dsplus_chains.scoring.members.letter_groups import MOST_WORDS, LetterGroups
from dsplus_chains.scoring.members.neighbors import NeighborMember

TEXTS = ["The broken phone broke at once", "a great, GREAT phone", "İstanbul ﬀ ß", "x" * 50 + " y", "日本 語", "a"]


def pair(texts):
    theirs = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, analyzer="char_wb", ngram_range=(2, 5)).fit(texts)
    return theirs, LetterGroups(theirs.get_feature_names_out().tolist(), theirs.idf_.astype(np.float32))


@settings(max_examples=50)
@given(st.lists(st.one_of(st.text(max_size=40), st.text(alphabet="ab \t\u00a0\u2003\x1cßİ", max_size=20)), max_size=5))
def test_the_table_is_that_of_scikit_learn(drawn):
    theirs, ours = pair(TEXTS)
    for _ in range(2):  # the second time from what is kept
        expected, table = theirs.transform([*TEXTS, *drawn, ""]), ours.transform([*TEXTS, *drawn, ""])
        assert table.shape == expected.shape
        assert table.dtype == np.float32
        assert abs(table - expected).max() <= 1e-6


def test_a_stream_of_new_words_is_not_kept_for_ever():
    ours = pair(TEXTS)[1]
    ours.transform([" ".join(f"word{number}" for number in range(MOST_WORDS + 10)), "z" * 1000])
    assert len(ours._known) < 100


def test_long_texts_take_less_than_half_of_the_time():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), size)) for size in rng.integers(2, 12, 2000)]
    texts = [" ".join(rng.choice(words, 200)) for _ in range(60)]
    theirs, ours = pair(texts)

    def seconds(transform):
        started = process_time()
        transform(texts)
        return process_time() - started

    ours.transform(texts)
    assert min(seconds(ours.transform) for _ in range(3)) < min(seconds(theirs.transform) for _ in range(3)) / 2


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_distances_are_the_same_in_chunks_and_alike_for_a_draw(monkeypatch, chunk):
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    member = NeighborMember(vectors=vectors, targets=np.zeros(60, dtype=np.int64), n_classes=2)
    whole = member.own_distances()
    monkeypatch.setattr(neighbors, "CHUNK", chunk)
    assert np.array_equal(member.own_distances(), whole)
    monkeypatch.setattr(neighbors, "MEASURED", 20)
    drawn = member.own_distances()
    assert len(drawn) == 20
    assert np.isin(drawn.round(5), whole.round(5)).all()
