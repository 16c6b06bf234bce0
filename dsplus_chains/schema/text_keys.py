"""Tells whether two texts are copies of one, whatever their case, white space, punctuation and Unicode form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from dsplus_chains.schema.hashing import hash_of
from dsplus_chains.schema.text_pair import as_pair

_BETWEEN_WORDS = frozenset({"Cc", "Cf", "Cs", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sk", "Zl", "Zp", "Zs"})
"""Unicode categories of what stands between words: punctuation, white space, and what nobody sees."""
_DIGIT = re.compile(r"\d")
_NOT_BETWEEN_DIGITS = re.compile(r"(?<!\d) | (?!\d)")
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


class _Plain(dict[int, str]):
    """What is left of each character, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        height = unicodedata.combining(character)
        if 10 <= height <= 35 or height >= 200 or code in _VARIATION_SELECTORS:
            left = ""  # an accent, or a Hebrew or Arabic vowel point. Indian and Thai vowels are letters
        else:
            left = " " if unicodedata.category(character) in _BETWEEN_WORDS else character
        return self.setdefault(code, left)


_PLAIN = _Plain()


def text_key(text: str) -> str:
    """What is left of a text without case, white space, punctuation and accents.

    Copies of a text have the same key. Symbols and emojis count. Between digits, white space and punctuation count as
    one sign, so 1.5 is not 15. A text of punctuation alone is its own key.

    Example:
        >>> text_key("It's a  CAFÉ (No. 1.5)!"), text_key("its a cafe no 1,5"), text_key("?!")
        ('itsacafeno1 5', 'itsacafeno1 5', '?!')
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    parts = folded.translate(_PLAIN).split()
    if _DIGIT.search(folded) is None:  # the usual case, in less time
        return "".join(parts) or " ".join(folded.split())
    return _NOT_BETWEEN_DIGITS.sub("", " ".join(parts))


def text_hash(value: Any) -> int:
    """A number of 64 bits that copies of an input share. A tuple of two texts counts as a pair of texts.

    Any other input that is no text counts as plain data.

    Example:
        >>> text_hash("Broke at once.") == text_hash("broke AT once"), text_hash("broke") == text_hash(["broke"])
        (True, False)
    """
    value = (as_pair(value) or value) if isinstance(value, tuple) else value
    key = text_key(value) if isinstance(value, str) else hash_of(value)
    return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def first_copies(hashes: Iterable[int]) -> list[int]:
    """For each row the number of the first row with the same hash.

    Example:
        >>> first_copies([7, 8, 7, 9, 8])
        [0, 1, 0, 3, 1]
    """
    first: dict[int, int] = {}
    return [first.setdefault(value, row) for row, value in enumerate(hashes)]
