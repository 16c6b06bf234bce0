"""Passages: where to cut a long text, and where each piece stands in it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from dsplus_chains.schema import InvalidInputError, Passage, what_came


@runtime_checkable
class TextSplitter(Protocol):
    """A LangChain text splitter, or anything like one."""

    def split_text(self, text: str) -> list[str]:
        """Cut a text into pieces."""


Split: TypeAlias = Literal["sentences", "paragraphs"] | TextSplitter | Callable[[str], Iterable[str]]
"""How to cut a text: at the ends of its sentences or paragraphs, by a text splitter, or by a function."""

_PATIENCE = 50_000_000
"""How many characters may be searched in vain for changed pieces. After that, only nearby text is searched."""

_NEAR = 1_000
"""How many characters after the last found piece are nearby text. The length of the piece itself is added."""

# A run of marks is tried only once, from its first mark. Otherwise a text of full stops alone would take forever.
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]+[”’」』）]*|\n\s*\n")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_LAST_WORD = re.compile(r"[^\W\d_](?:[\w.]*\w)?$")
_TITLES = "capt|col|dr|gen|gov|hon|jr|lt|mr|mrs|ms|prof|rep|rev|sen|sgt|sr|st"
_ABBREVIATION = re.compile(rf"{_TITLES}|approx|ca|cf|fig|pp|vol|vs", re.IGNORECASE)


def cut(text: str, split: Split) -> list[Passage]:
    """Cut a text into passages, numbered from 1. Pieces of white space alone are left out.

    Pieces may overlap, as those of many text splitters do. A piece that the splitter has changed has no `start`. In a
    long text with many changed pieces, a piece far after the last one found has no `start` either.

    Args:
        text: Any text.
        split: How to cut it.

    Raises:
        InvalidInputError: The splitter returned something other than texts.

    Example:
        >>> [(part.number, part.start, part.text) for part in cut("It broke. Twice! (Mr. Bell too.)", "sentences")]
        [(1, 0, 'It broke.'), (2, 10, 'Twice!'), (3, 17, '(Mr. Bell too.)')]
        >>> [(part.start, part.text) for part in cut("one two three", str.split)]
        [(0, 'one'), (4, 'two'), (8, 'three')]
    """
    pieces: list[tuple[str, int | None]]
    if isinstance(split, str):
        ends = _sentence_ends(text) if split == "sentences" else [mark.end() for mark in _PARAGRAPH_END.finditer(text)]
        pieces = [(text[start:end], start) for start, end in _stripped(text, ends)]
    else:
        pieces = _located(text, split.split_text(text) if isinstance(split, TextSplitter) else split(text))
    return [Passage(text=piece, start=start, number=number) for number, (piece, start) in enumerate(pieces, start=1)]


def _sentence_ends(text: str) -> list[int]:
    return [mark.end() for mark in _SENTENCE_END.finditer(text) if not _is_abbreviation(text, mark)]


def _is_abbreviation(text: str, mark: re.Match[str]) -> bool:
    """Whether a full stop belongs to the word before it ("Mr.", "e.g.", "J. S. Bach") and ends no sentence."""
    if mark[0] != ".":
        return False
    word = _LAST_WORD.search(text, max(0, mark.start() - 20), mark.start())
    if word is None:
        return False
    said = word[0]
    return bool(_ABBREVIATION.fullmatch(said)) or "." in said or (len(said) == 1 and said.isupper() and said != "I")


def _stripped(text: str, ends: list[int]) -> list[tuple[int, int]]:
    """The spans between the ends, without the white space around them. Empty spans are left out."""
    spans = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        piece = text[start:end]
        if kept := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(kept)))
    return spans


def _located(text: str, pieces: Any) -> list[tuple[str, int | None]]:
    """Each piece with its offset: the first match after the last piece's start that reaches beyond its end.

    A splitter may change all pieces of a long text. Then the whole text must not be searched for each of them.
    """
    located: list[tuple[str, int | None]] = []
    after, end, patience = 0, 0, _PATIENCE
    for piece in [pieces] if isinstance(pieces, str) else pieces:
        if not isinstance(piece, str):
            msg = f"Got {what_came(piece)} from a splitter but expected texts (strings)"
            raise InvalidInputError(msg)
        if not piece.strip():
            continue
        first = max(after, end - len(piece) + 1)
        last = len(text) if patience > 0 else end + len(piece) + _NEAR
        start = text.find(piece, first, last)
        if start >= 0:
            after, end = start + 1, start + len(piece)
        else:
            patience -= last - first
        located.append((piece, start if start >= 0 else None))
    return located
