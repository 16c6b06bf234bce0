"""The one label that an answer of several lines and sentences gives.

All labels that are stated must agree. The last one counts if nothing before it may say whose it is not, and if what
follows only explains it. So an answer may come first or last, and the rest is its reason.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from dsplus_chains.prompting.answer_words import ANSWERS, ATTRIBUTES, INPUTS, either
from dsplus_chains.prompting.matching import Forms
from dsplus_chains.prompting.reasons import ITEM, contradict, explain, simple
from dsplus_chains.prompting.statements import Statement, stated

_STOP = r"[\"'”’»」』)\]*_`]{0,4}"
_SENTENCE_END = re.compile(rf"(?:(?<!\.)\.(?!\.)|[!?;؟]){_STOP}\s+|[。！？；।]{_STOP}\s*")
_LINE_END = re.compile(rf"[.!?;…。！？；।؟]{_STOP}$")
_OPEN_END = re.compile(r"[:：,，、(\[—–-][\s*_`]{0,4}$")
_FIELD = re.compile(r"[\s*_]{0,4}\w[\w \-]{0,40}[*_]{0,2}[:：]")
_INITIAL = re.compile(r"\s*(?:\d{1,3}|[^\W\d_])\.\s*")
_COLON = re.compile(r"\s[-–—]+\s|[:：]")
_FENCE = re.compile(r"\s*(?:```|~~~)\s*\w{0,20}\s*")
_QUOTES = re.compile(r"[\"“”„«»「」『』]|(?<!\w)['‘’]|['‘’](?!\w)")

_DENIAL = re.compile(r"\b(?:no|not|never|none|nothing|nobody|without|hardly|barely|un\w+)\b|n't\b")

LONGEST_HEADING = 6
"""Number of words above which a line without a stop is a sentence, and no heading."""

_NOUN = either((*ANSWERS, *ATTRIBUTES))
_KEYWORD = rf"(?:{_NOUN}|json|object|format|response|analysis|code|block)s?"
_INTRODUCTION = re.compile(
    r"(?:(?:sure|okay|ok|certainly|of course|great|understood|thanks?|thank you)[!.,:]? ?){0,3}"
    r"(?:(?:here(?:'s| is| are| it is| you go| you are)|below is|this is|the following is) ?)?(?:(?:the|my|your|an?) )?"
    r"(?:(?:final|correct|requested|resulting|best|valid) ){0,3}"
    rf"(?:{_KEYWORD} ?){{0,3}}(?: ?(?:of|for|in|as) (?:the |this |your |a )?(?:(?:given|provided|requested) ){{0,2}}"
    rf"(?:{either(INPUTS)}|{_KEYWORD}|requested)(?: (?:format|object))?){{0,3}}[:.!]*"
)


class _Piece(NamedTuple):
    """A sentence.

    Args:
        text: Its words.
        whole: Whether it fills its line.
        quoted: Whether it stands within quotes that were opened before it.
    """

    text: str
    whole: bool
    quoted: bool


def stated_forms(text: str, forms: Forms) -> tuple[set[str], bool]:
    r"""The forms of the labels that an answer states, and whether they can be taken as its answer.

    Example:
        >>> forms = Forms(["good", "bad"], {})
        >>> stated_forms("It is good on paper.\nAnswer: bad", forms), stated_forms("Good. He lies.", forms)
        (({'bad'}, True), ({'good'}, False))
    """
    whole = stated(" ".join(text.split()), forms) if len(text) <= forms.limit else None
    if whole is not None and whole.form is not None:
        return {whole.form}, True
    pieces = _pieces(text, forms)
    said = [(place, told) for place, piece in enumerate(pieces) if (told := _said(piece, forms)) is not None]
    found = {statement.form for _, statement in said if statement.form is not None}
    if not said or any(statement.form is None for _, statement in said):
        return found, False
    place, last = said[-1]
    closes = last.own or (last.bare and pieces[place].whole)
    closes = closes and not (place and _hangs(pieces[place - 1]))
    opens = all(_introduces(piece.text) for piece in pieces[:place])
    reasons = [piece.text for piece in pieces[place + 1 :]]
    decided = (closes or opens) and explain(reasons) and not contradict(reasons, last.form or "", forms)
    return found, decided


def _said(piece: _Piece, forms: Forms) -> Statement | None:
    """What a sentence states, unless it is a quotation."""
    return None if piece.quoted else stated(piece.text, forms)


def _pieces(text: str, forms: Forms) -> list[_Piece]:
    """The sentences of a text. A line that goes on in the next one is put together with it."""
    pieces: list[_Piece] = []
    quotes = 0
    for unit in _units(text, forms):
        sentences = _sentences(unit)
        for sentence in sentences:
            if any(map(_says, sentence)):
                parts = _label_and_reason(sentence, forms)
                pieces += [_Piece(part, len(sentences) == 1, quotes % 2 == 1) for part in parts]
            quotes += len(_QUOTES.findall(sentence))
    return pieces


def _says(sign: str) -> bool:
    """Whether a sign says anything: a letter, a digit, or a picture, such as a face that winks."""
    return sign.isalnum() or unicodedata.category(sign) == "So"


def _label_and_reason(sentence: str, forms: Forms) -> list[str]:
    """A sentence such as "Spam: the sender asks for money", or "Spam: asks for money", in its two parts.

    Any other stays one.
    """
    label, *reason = _COLON.split(sentence, maxsplit=1)
    if not reason or forms.find(label) is None or stated(sentence, forms):
        return [sentence]
    if explain(reason) or forms.are_described or _DENIAL.search(simple(reason[0])):
        return [label, *reason]
    return [label, f"It {reason[0].strip()}"]


def _units(text: str, forms: Forms) -> list[str]:
    """The lines of a text, where lines that belong together are one."""
    units: list[list[str]] = []
    for line in text.splitlines():
        if not line.strip() or _FENCE.fullmatch(line):
            continue
        if units and _goes_on(units[-1][-1], line, forms):
            units[-1].append(line)
        else:
            units.append([line])
    return [" ".join(lines) for lines in units]


def _goes_on(line: str, following: str, forms: Forms) -> bool:
    """Whether a line is no end, as "It is not" before "positive". The next one then belongs to it.

    A label on a line of its own belongs to the line before it, unless that is a whole sentence.
    """
    end = line[-8:].rstrip()
    if _OPEN_END.search(end):
        return not _introduces(line)
    if _LINE_END.search(end) or not any(map(str.isalnum, line)):
        return False
    if forms.find(following) is not None:
        return not _introduces(line)
    return following.lstrip()[:1].islower() and not ITEM.match(line) and not _FIELD.match(line)


def _hangs(piece: _Piece) -> bool:
    """Whether a line is a heading, or is broken off. It may say what the next one is not, as "I rule out" does."""
    text = piece.text
    if not piece.whole or _LINE_END.search(text[-8:].rstrip()) or ITEM.match(text) or _FIELD.match(text):
        return False
    return len(text.split()) <= LONGEST_HEADING and not _introduces(text)


def _sentences(unit: str) -> list[str]:
    found, start = [], 0
    for end in _SENTENCE_END.finditer(unit):
        if not _INITIAL.fullmatch(unit, start, end.end()):  # "1. It broke." is one sentence
            found.append(unit[start : end.end()])
            start = end.end()
    return [*found, unit[start:]] if unit[start:].strip() else found


def _introduces(text: str) -> bool:
    """Whether a sentence only announces what comes: "Sure!", "Here is the JSON:"."""
    return len(text) <= 200 and _INTRODUCTION.fullmatch(simple(text)) is not None
