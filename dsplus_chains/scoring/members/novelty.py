"""How new the words of a text are, which tells without an encoder how far it is from the training examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")


def novelties(texts: Sequence[str], known: Container[str]) -> NDArray[np.float64]:
    """The share of each text's different words that are not known. It is 1 for a text without words.

    Args:
        texts: The texts.
        known: The known words, in lower case.

    Example:
        >>> novelties(["Good phone", "good zither", "!"], {"good", "phone"}).tolist()
        [0.0, 0.5, 1.0]
    """
    return _shares([[word in known for word in _words(text)] for text in texts])


def own_novelties(texts: Sequence[str]) -> NDArray[np.float64]:
    """The share of each text's different words that none of the other texts has.

    Example:
        >>> own_novelties(["good phone", "good zither", "phone"]).tolist()
        [0.0, 0.5, 0.0]
    """
    words = [_words(text) for text in texts]
    texts_of = Counter(word for own in words for word in own)
    return _shares([[texts_of[word] > 1 for word in own] for own in words])


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _shares(known: Sequence[Sequence[bool]]) -> NDArray[np.float64]:
    return np.array([1 - sum(row) / len(row) if row else 1.0 for row in known], dtype=np.float64)
