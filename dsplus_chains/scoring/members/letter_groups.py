"""`LetterGroups` weighs the groups of letters within the words of a text, with the groups of each word found once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer

SHORTEST, LONGEST = 2, 5
"""Lengths of the letter groups."""
USUAL_WORD = 32
"""Largest number of letters of a word whose groups are kept for the next text. A longer one may be a whole page."""
MOST_WORDS = 50_000
"""Largest number of words whose groups are kept. That takes some ten megabytes."""


class LetterGroups:
    """The TF-IDF of letter groups, equal to that of scikit-learn's analyzer "char_wb".

    Most words come again and again. scikit-learn cuts each of them anew, and looks each group up.

    Args:
        vocabulary: The groups, in the order of their columns.
        idf: The inverse document frequency of each column.
    """

    def __init__(self, vocabulary: Sequence[str], idf: NDArray[np.float32]) -> None:
        self._column = {group: number for number, group in enumerate(vocabulary)}
        self._weigher = TfidfTransformer(sublinear_tf=True)
        self._weigher.idf_ = idf
        self._known: dict[str, NDArray[np.int32]] = {}

    def transform(self, texts: Sequence[str]) -> Any:
        """A sparse table of shape [n texts, columns]."""
        columns = [np.empty(0, dtype=np.int32)]
        ends = [0]
        for text in texts:
            found = [self._columns_of(word) for word in text.lower().split()]
            columns += found
            ends.append(ends[-1] + sum(map(len, found)))
        indices = np.concatenate(columns)
        ones = np.ones(len(indices), dtype=np.float32)
        counts = sparse.csr_matrix((ones, indices, np.array(ends)), shape=(len(texts), len(self._column)))
        counts.sum_duplicates()
        return self._weigher.transform(counts, copy=False)

    def _columns_of(self, word: str) -> NDArray[np.int32]:
        known = self._known.get(word)
        if known is None:
            known = np.array([self._column[group] for group in _groups(word) if group in self._column], dtype=np.int32)
            if len(self._known) >= MOST_WORDS:
                self._known.clear()
            if len(word) <= USUAL_WORD:
                self._known[word] = known
        return known


def _groups(word: str) -> list[str]:
    """The groups of letters in a word with a space on each side.

    Example:
        >>> _groups("to"), _groups("a")
        ([' t', 'to', 'o ', ' to', 'to ', ' to '], [' a', 'a ', ' a '])
    """
    padded = f" {word} "
    sizes = range(SHORTEST, min(LONGEST, len(padded)) + 1)
    return [padded[start : start + size] for size in sizes for start in range(len(padded) - size + 1)]
