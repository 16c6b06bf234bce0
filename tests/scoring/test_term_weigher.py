"""The table is that of scikit-learn's vectorizers, but each word is cut once."""

from time import thread_time

import numpy as np
import pytest
from clock import no_garbage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from dsplus_chains.scoring.members import term_weigher
from dsplus_chains.scoring.members.term_weigher import MOST_WORDS, TermWeigher

TEXTS = ["The broken phone broke at once", "a great, GREAT phone", "İstanbul ﬀ ß", "x" * 50 + " y", "日本 語", "a"]
VIEWS = (
    {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    {"analyzer": "char_wb", "ngram_range": (2, 5)},
)


class Theirs:
    """The two vectorizers side by side."""

    def __init__(self, texts):
        self.views = [TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **view).fit(texts) for view in VIEWS]

    def transform(self, texts):
        return sparse.hstack([view.transform(texts) for view in self.views]).tocsr()


def pair(texts):
    theirs = Theirs(texts)
    terms = [view.get_feature_names_out().tolist() for view in theirs.views]
    return theirs, TermWeigher(*terms, np.concatenate([view.idf_ for view in theirs.views]).astype(np.float32))


@settings(max_examples=50)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.text(alphabet="ab \t\u00a0\u2003\x1cßİ'.", max_size=20),
            st.lists(st.sampled_from(["the", "broken", "phone", "great", "a,", "İstanbul-ﬀ", "á"]), max_size=9).map(
                " ".join
            ),
        ),
        max_size=5,
    ),
    st.sampled_from([1, 30, 10_000]),
)
def test_the_table_is_that_of_scikit_learn(drawn, at_once):
    theirs, ours = pair(TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(term_weigher, "AT_ONCE", at_once)
        for texts in ([*TEXTS, *drawn, ""], drawn, TEXTS):  # the second time from what is kept
            table = ours.transform(texts)
            assert table.dtype == np.float32
            if not texts:  # scikit-learn takes no empty list
                assert table.shape == (0, len(ours._idf))
                continue
            expected = theirs.transform(texts)
            assert table.shape == expected.shape
            assert abs(table - expected).max() <= 1e-6


def test_a_pair_of_words_is_not_looked_for_across_texts():
    weigher = TermWeigher(["bad", "bad phone"], ["ph"], np.ones(3, dtype=np.float32))
    assert weigher.transform(["a bad", "phone"]).toarray().tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_stream_of_new_words_is_not_kept_for_ever():
    ours = pair(TEXTS)[1]
    ours.transform([" ".join(f"word{number}" for number in range(MOST_WORDS + 10)), "z" * 1000])
    assert len(ours._known) < 100


@pytest.mark.parametrize("size", [10, 200])
def test_texts_take_less_than_half_of_the_time(size):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), size)) for size in rng.integers(2, 12, 2000)]
    texts = [" ".join(rng.choice(words, size)) for _ in range(12_000 // size)]
    theirs, ours = pair(texts)

    def seconds(transform):
        with no_garbage():
            started = thread_time()
            transform(texts)
            return thread_time() - started

    ours.transform(texts)
    assert min(seconds(ours.transform) for _ in range(3)) < min(seconds(theirs.transform) for _ in range(3)) / 2
