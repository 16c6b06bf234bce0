"""Passages: where to cut a long text, and where each piece stands in it. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import regex

from dsplus_chains.schema import InvalidInputError, Passage, check_choice, what_came


@runtime_checkable
class TextSplitter(Protocol):
    """A LangChain text splitter, or anything like one."""

    def split_text(self, text: str) -> list[str]:
        """Cut a text into pieces."""


Split: TypeAlias = Literal["sentences", "paragraphs"] | TextSplitter | Callable[[str], Iterable[str]]
"""How to cut a text: at the ends of its sentences or paragraphs, by a text splitter, or by a function."""

MOST_PARTS = 2_000
"""How many parts of a text a step is run over, by default. A novel has about as many paragraphs."""

AT_ONCE = 10_000
"""At most about this many parts go through a step at once, so that memory is bounded however many inputs there are."""

_PATIENCE = 50_000_000
"""How many characters may be searched in vain for changed pieces. After that, only nearby text is searched."""

_NEAR = 1_000
"""How many characters after the last found piece are nearby text. The length of the piece itself is added."""

_LETTER = r"[^\W\d_]"
_TITLES = "capt|col|dr|gen|gov|hon|jr|lt|mr|mrs|ms|prof|rep|rev|sen|sgt|sr|st"
_ABBREVIATION = (
    rf"(?:(?<!{_LETTER}\w{{0,18}})(?:(?i:{_TITLES}|approx|ca|cf|fig|pp|vol|vs)|(?!I)\p{{Lu}})"  # "Mr.", "J. S. Bach"
    rf"|{_LETTER}[\w.]{{0,17}}\.[\w.]{{0,17}}\w)\."  # "e.g."
)
# A run of marks is tried only once, from its first mark. Otherwise a text of full stops alone would take forever.
_SENTENCE_END = regex.compile(
    rf"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)(?<!{_ABBREVIATION})|[。！？]+[”’」』）]*|\n\s*\n", regex.VERSION0
)
_PARAGRAPH_END = regex.compile(r"\n\s*\n", regex.VERSION0)


def cut(text: str, split: Split, *, max_parts: int | None = None) -> list[Passage]:
    """Cut a text into passages, numbered from 1. Pieces of white space alone are left out.

    Pieces may overlap, as those of many text splitters do. A piece that the splitter has changed has no `start`. In a
    long text with many changed pieces, a piece far after the last one found has no `start` either.

    Args:
        text: Any text.
        split: How to cut it.
        max_parts: Most passages that it may have. None sets no bound.

    Raises:
        InvalidInputError: The word for how to cut it is unknown. There are more passages, or the splitter returned
            something other than texts.

    Example:
        >>> [(part.number, part.start, part.text) for part in cut("It broke. Twice! (Mr. Bell too.)", "sentences")]
        [(1, 0, 'It broke.'), (2, 10, 'Twice!'), (3, 17, '(Mr. Bell too.)')]
        >>> [(part.start, part.text) for part in cut("one two three", str.split)]
        [(0, 'one'), (4, 'two'), (8, 'three')]
    """
    pieces: Iterator[tuple[str, int | None]]
    if isinstance(split, str):
        check_choice("split", split, ("sentences", "paragraphs"))
        marks = (_SENTENCE_END if split == "sentences" else _PARAGRAPH_END).finditer(text)
        pieces = _stripped(text, (mark.end() for mark in marks))
    else:
        pieces = _located(text, split.split_text(text) if isinstance(split, TextSplitter) else split(text))
    found = list(islice(pieces, None if max_parts is None else max_parts + 1))  # a hostile text is not cut to its end
    if max_parts is not None and len(found) > max_parts:
        msg = (
            f"Got a text of {len(text)} characters in more than max_parts={max_parts} parts. Cut it into longer ones "
            "(`split`), or raise the bound"
        )
        raise InvalidInputError(msg)
    return [Passage(text=piece, start=start, number=number) for number, (piece, start) in enumerate(found, start=1)]


def _stripped(text: str, ends: Iterable[int]) -> Iterator[tuple[str, int]]:
    """The pieces between the ends, without the white space around them, and their offsets. Empty ones are left out."""
    start = 0
    for end in chain(ends, [len(text)]):
        piece = text[start:end]
        if kept := piece.strip():
            yield kept, start + len(piece) - len(piece.lstrip())
        start = end


def _located(text: str, pieces: Any) -> Iterator[tuple[str, int | None]]:
    """Each piece with its offset: the first match after the last piece's start that reaches beyond its end.

    A splitter may change all pieces of a long text. Then the whole text must not be searched for each of them.
    """
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
        yield piece, start if start >= 0 else None
