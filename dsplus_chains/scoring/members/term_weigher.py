"""`TermWeigher` weighs the words, pairs of words and letter groups of texts, and cuts each different word once."""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SHORTEST, LONGEST = 2, 5
"""Lengths of the letter groups."""
USUAL_WORD = 32
"""Largest number of letters of a word that is kept for the next text. A longer one may be a whole page."""
MOST_WORDS = 50_000
"""Largest number of words that are kept. That takes some ten megabytes."""

AT_ONCE = 250_000
"""Largest number of letters whose cells are held at once, or one text. That takes some 60 megabytes."""

_TOKEN = re.compile(r"\w+")


class TermWeigher:
    """The TF-IDF of texts, equal to that of two vectorizers of scikit-learn side by side.

    One has the analyzer "word", for words and pairs of words. The other has the analyzer "char_wb". Most words come
    again and again. scikit-learn cuts each of them anew, and looks each of its groups up.

    Args:
        words: The words, and the pairs of words with a space between, in the order of their columns.
        groups: The letter groups, in the order of their columns, which follow those of the words.
        idf: The inverse document frequency of each column.

    Example:
        >>> weigher = TermWeigher(["bad", "bad phone"], ["ph"], np.ones(3, dtype=np.float32))
        >>> print(weigher.transform(["A bad phone", "phones"]).toarray().round(2))
        [[0.71 0.71 1.  ]
         [0.   0.   1.  ]]
    """

    def __init__(self, words: Sequence[str], groups: Sequence[str], idf: NDArray[np.float32]) -> None:
        terms = [word.split(" ") for word in words]
        numbers = {token: number for number, token in enumerate(dict.fromkeys(chain.from_iterable(terms)))}
        column_of = {tuple(numbers[token] for token in term): column for column, term in enumerate(terms)}
        self._idf = idf
        self._edge = len(words)
        self._base = len(numbers) + 1  # the last number stands for all words that no term has
        self._word_columns = np.array([column_of.get((number,), -1) for number in range(self._base)])
        pairs = {term[0] * self._base + term[1]: column for term, column in column_of.items() if len(term) == 2}
        pairs[self._base**2] = -1  # so that each pair has one to be compared with
        self._pairs = np.array(sorted(pairs))
        self._pair_columns = np.array([pairs[pair] for pair in sorted(pairs)])
        self._known = _Known(numbers, {group: self._edge + number for number, group in enumerate(groups)})

    def transform(self, texts: Sequence[str]) -> Any:
        """A sparse table of shape [n texts, columns]."""
        part_of = np.cumsum(_lengths(texts)) // AT_ONCE
        edges = [0, *np.flatnonzero(np.diff(part_of)) + 1, len(texts)]
        tables = [self._table(texts[start:end]) for start, end in pairwise(edges)]
        return tables[0] if len(tables) == 1 else sparse.vstack(tables, format="csr")

    def _table(self, texts: Sequence[str]) -> Any:
        cut = [text.lower().split() for text in texts]
        rows = np.repeat(np.arange(len(texts)), _lengths(cut))
        known = [self._known[word] for word in chain.from_iterable(cut)]
        tokens_of, groups_of = [word.tokens for word in known], [word.groups for word in known]
        tokens = np.fromiter(chain.from_iterable(tokens_of), dtype=np.int64)
        token_rows = np.repeat(rows, _lengths(tokens_of))
        found = (
            _Cells(token_rows, self._word_columns[tokens]),
            self._pair_cells(token_rows, tokens),
            _Cells(np.repeat(rows, _lengths(groups_of)), np.concatenate([np.empty(0, dtype=np.int64), *groups_of])),
        )
        return self._weighed(_Cells(*map(np.concatenate, zip(*found, strict=True))), len(texts))

    def _pair_cells(self, rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> _Cells:
        """Where two words that follow one another in a text are a term."""
        pairs = tokens[:-1] * self._base + tokens[1:]
        at = np.searchsorted(self._pairs, pairs)
        is_term = (self._pairs[at] == pairs) & (rows[:-1] == rows[1:])
        return _Cells(rows[:-1][is_term], self._pair_columns[at[is_term]])

    def _weighed(self, cells: _Cells, n_texts: int) -> Any:
        """The weight of each term in each text, so that the words of a text have length one, and so its groups."""
        is_term = cells.columns >= 0
        shift = len(self._idf).bit_length()
        keys = np.sort(cells.rows[is_term] << shift | cells.columns[is_term])
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(first, append=len(keys))
        rows, columns = keys[first] >> shift, keys[first] & (1 << shift) - 1
        weights = (1 + np.log(counts)) * self._idf[columns]
        halves = 2 * rows + (columns >= self._edge)
        weights /= np.sqrt(np.bincount(halves, weights**2))[halves]
        ends = np.cumsum(np.bincount(rows, minlength=n_texts))
        return sparse.csr_matrix(
            (weights.astype(np.float32), columns.astype(np.int32), np.concatenate([[0], ends])),
            shape=(n_texts, len(self._idf)),
        )


def _lengths(things: Sequence[Sized]) -> NDArray[np.int64]:
    return np.fromiter(map(len, things), dtype=np.int64, count=len(things))


class _Cells(NamedTuple):
    """Cells of a table, one for each time that a term comes. A column below zero is none."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


class _Word(NamedTuple):
    """What is between two spaces: the numbers of its tokens, and the columns of its letter groups."""

    tokens: tuple[int, ...]
    groups: NDArray[np.int64]


class _Known(dict[str, _Word]):
    """The words that came before. A new one is cut when it is looked up."""

    def __init__(self, numbers: dict[str, int], group_columns: dict[str, int]) -> None:
        super().__init__()
        self._numbers, self._columns = numbers, group_columns

    def __missing__(self, word: str) -> _Word:
        tokens = tuple(self._numbers.get(token, len(self._numbers)) for token in _TOKEN.findall(word))
        columns = [self._columns[group] for group in _groups(word) if group in self._columns]
        new = _Word(tokens, np.array(columns, dtype=np.int64))
        if len(self) >= MOST_WORDS:
            self.clear()
        if len(word) <= USUAL_WORD:
            self[word] = new
        return new


def _groups(word: str) -> list[str]:
    """The groups of letters in a word with a space on each side.

    Example:
        >>> _groups("to"), _groups("a")
        ([' t', 'to', 'o ', ' to', 'to ', ' to '], [' a', 'a ', ' a '])
    """
    padded = f" {word} "
    sizes = range(SHORTEST, min(LONGEST, len(padded)) + 1)
    return [padded[start : start + size] for size in sizes for start in range(len(padded) - size + 1)]
