"""The written forms of labels, and whether a text is one of them. Nothing is searched for inside a text.

Signs are told apart by their Unicode category and name, so that each script's quotes, stops and arrows count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

_CHECK_MARKS = "✓✔✅☑"
_PART_OF_A_NAME = "#%&@/\\‰"
"""Punctuation that may belong to a label, as in "c#", "n/a" and "50%". It is never taken off."""
_INVISIBLE = {"Cf", "Cc", "Cs"}
_PUNCTUATION = {"Zs", "Zl", "Zp", "Cc", "Pc", "Ps", "Pe", "Pi", "Pf", "Po"}

_LEADING = re.compile(r"#{1,6}\s+|(?:->|=>|[-•→◦▪●■◆►▶])\s+(?:\[x\]\s+)?|→|\[x\]\s+|\d{1,3}[.)]\s+(?=[^\W\d])")
"""What marks a heading, an item, a result or a choice. A number before a number is no mark."""
_EMPTY_BOX = re.compile(r"[\[(]\s?[\])]")
_JOINED = re.compile(r"(?<=\w)[_-](?=\w)")
_OPERATORS = re.compile(r" ?([<>=+#]+) ?")
_NUMBER = re.compile(r"\+?((?:(?<!\+)-)?\d{1,18})(?:\.00?)?(?: out of (\d{1,18})(?: stars?| points?)?)?")
_INTEGER = re.compile(r"\d{1,18}")
_WORDS = re.compile(r"[\W_]+")

ROOM = 400
"""Number of characters that a sentence may have beside the longest label."""


@lru_cache(maxsize=4096)
def _alike_sign(sign: str) -> str:
    """A sign in the form in which it is compared. It is empty if the sign cannot be seen."""
    category, name = unicodedata.category(sign), unicodedata.name(sign, "")
    alike = {"≤": "<=", "≥": ">=", "♯": "#", "−": "-"}.get(sign, sign)
    if (category in _INVISIBLE and not sign.isspace()) or "VARIATION SELECTOR" in name or category == "Me":
        alike = ""
    elif category == "Nd":
        alike = str(unicodedata.decimal(sign))
    elif category == "Pd":
        alike = "-"
    elif category in {"Pi", "Pf", "Po", "Ps"} and ("QUOTATION MARK" in name or "PRIME" in name):
        alike = "'" if "SINGLE" in name or name == "PRIME" else '"'
    elif category in {"Sm", "So"} and "ARROW" in name and not {"NOT", "STROKE"} & set(name.split()):
        alike = "→"
    elif category in {"Po", "Sm", "Sk", "Lm"} and "COLON" in name.split():
        alike = ":"
    return alike


@lru_cache(maxsize=4096)
def _is_question(sign: str) -> bool:
    name = unicodedata.name(sign, "")
    return unicodedata.category(sign) == "Po" and ("QUESTION" in name or "INTERROBANG" in name)


@lru_cache(maxsize=4096)
def _is_around(sign: str) -> bool:
    """Whether a sign is no part of the answer that it stands beside. A question mark is one, since it casts doubt."""
    if sign in _PART_OF_A_NAME or _is_question(sign):
        return False
    return unicodedata.category(sign) in _PUNCTUATION or sign in "`´|" or sign in _CHECK_MARKS


def asks(text: str) -> bool:
    """Whether a text has a question mark, in any script.

    Example:
        >>> asks("positive？"), asks("positive!")
        (True, False)
    """
    return "?" in text or (not text.isascii() and any(_is_question(sign) for sign in text))


def alike(text: str) -> str:
    r"""A text with one case, and one kind of dash, digit, quote, colon and arrow. What cannot be seen is gone.

    Example:
        >>> alike("“Card–Lost” ： ５"), alike("\u200fX")
        ('"card-lost" : 5', 'x')
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", "".join(map(_alike_sign, text))).casefold()
    return "".join(map(_alike_sign, text))


def bare(text: str) -> str:
    """The text without the signs around it.

    The point of ".5" stays, because ".5" is not 5. Two dots stay, because the text goes on. A leading "!" stays, since
    it may mean "not". So does an empty box, which is a choice not made. A trailing ":" stays, since something was to
    follow.

    Example:
        >>> bare("**(Negative).**"), bare("Negative..."), bare("!negative"), bare("negative?")
        ('Negative', 'Negative...', '!negative', 'negative?')
    """
    start, end = 0, len(text)
    while start < end and text[start] != "!" and _is_around(text[start]):
        if _EMPTY_BOX.match(text, start) or text.startswith("[x]", start):
            break
        after = text[start + 1 : start + 2]
        if text[start] in ".," and (after.isdigit() or after == "."):
            break
        start += 1
    while end > start and text[end - 1] != ":" and _is_around(text[end - 1]) and text[end - 2 : end] != "..":
        end -= 1
    return text[start:end]


def spaced(text: str) -> str:
    """The text with one kind of space. "a_b" and "a-b" become "a b"."""
    text = " ".join(text.split())
    if "_" in text or "-" in text:
        text = _JOINED.sub(" ", text)
    return _OPERATORS.sub(r"\1", text)


def plain(text: str) -> str:
    """A text in the form in which it is compared.

    It has one case and one kind of space and dash. Quotes and punctuation around it are gone.

    Example:
        >>> plain('  **"Card_Lost".** '), plain("<= 50K"), plain("−1"), plain("「负面」。")
        ('card lost', '<=50k', '-1', '负面')
    """
    text = bare(alike(text))
    if mark := _LEADING.match(text):
        text = bare(text[mark.end() :])
    return spaced(text)


def words(text: str) -> str:
    """The words of a text, with one space between them."""
    return _WORDS.sub(" ", alike(text)).strip()


class Forms:
    """The written forms of labels.

    Args:
        labels: The labels.
        aliases: Further written forms, each with its label.
        descriptions: The meaning of labels, as the prompt shows it.
    """

    def __init__(
        self, labels: Iterable[Any], aliases: Mapping[str, Any], descriptions: Mapping[Any, str] | None = None
    ) -> None:
        self.labels_of = forms_of(labels, aliases)
        self._top = max((form for form in self.labels_of if _INTEGER.fullmatch(form)), key=int, default=None)
        self._described: dict[tuple[str, bool], set[str]] = {}
        for label, description in (descriptions or {}).items():
            line = f"{label} {description}"
            self._described.setdefault((words(line), asks(line)), set()).add(plain(str(label)))
        self.limit = ROOM + max(map(len, [*self.labels_of, *(line for line, _ in self._described)]), default=0)
        """Number of characters above which a text cannot be a label or a sentence that states one."""

    @property
    def are_described(self) -> bool:
        """Whether the labels have descriptions, which an answer may repeat."""
        return bool(self._described)

    def find(self, text: str) -> str | None:
        """The form that makes up the whole text. None if there is none.

        Example:
            >>> forms = Forms(["lost", "card lost", 5], {})
            >>> forms.find("'Card_Lost'."), forms.find("It is lost"), forms.find("5.0")
            ('card lost', None, '5')
        """
        return self.find_plain(plain(text)) if len(text) <= self.limit else None

    def find_plain(self, text: str) -> str | None:
        """The same, for a text that is plain already."""
        if text in self.labels_of:
            return text
        number = _NUMBER.fullmatch(text)
        return number[1] if number and number[1] in self.labels_of and number[2] in {None, self._top} else None

    def occur_in(self, text: str) -> bool:
        """Whether a plain text holds any form, so that it may state one."""
        return any(form in text for form in self.labels_of)

    def described(self, text: str) -> str | None:
        """The form of the label that a text names with its description, as the prompt's own line does.

        Example:
            >>> forms = Forms(["refund"], {}, {"refund": "wants money back"})
            >>> forms.described("- refund: wants money back"), forms.described("refund: no")
            ('refund', None)
        """
        if not self._described or len(text) > self.limit:
            return None
        found = self._described.get((words(text), asks(text)), set())
        form = next(iter(found), "")
        return form if len(found) == 1 and plain(text).startswith(form) else None


def forms_of(labels: Iterable[Any], aliases: Mapping[str, Any]) -> dict[str, set[Any]]:
    """The plain forms of labels and aliases, each with the labels that it may stand for.

    Booleans may also be written as yes and no.

    Example:
        >>> forms_of(["Card lost"], {"stolen": "Card lost"})
        {'card lost': {'Card lost'}, 'stolen': {'Card lost'}}
    """
    forms: dict[str, set[Any]] = {}
    for label in labels:
        forms.setdefault(plain(str(label)), set()).add(label)
        if isinstance(label, bool):
            forms.setdefault("yes" if label else "no", set()).add(label)
    for alias, label in aliases.items():
        forms.setdefault(plain(alias), set()).add(label)
    return {form: found for form, found in forms.items() if form}
