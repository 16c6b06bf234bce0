"""Finds labels in a chat model's text. All functions are pure.

Two kinds of evidence count. A line or sentence that *is* a label decides ("Negative.", "Label: negative"). Without one,
prose may say that something is a label ("The sentiment of this review is negative."), if nothing in it casts doubt.
Everything else is left to the caller, because a wrong label costs more than a second question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_AROUND = " \t\r\n\"'`*_.,:;!?()[]{}“”‘’„«»|~"
"""Signs around an answer that are no part of it, such as quotes, brackets, Markdown and final punctuation."""

_SIGNS = str.maketrans(
    {**dict.fromkeys("‐‑‒–—―−﹣－", "-"), **dict.fromkeys("\u00ad\u200b\u200c\u200d\ufeff", ""), "’": "'", "‘": "'"}
    | {"≤": "<=", "≥": ">=", "♯": "#", "“": '"', "”": '"'}
)
"""Signs that look alike are made equal, so that no minus is lost. Invisible signs are removed."""

_DOUBT = (
    *(
        "not",
        "never",
        "neither",
        "nor",
        "no",
        "cannot",
        "unable",
        "unsure",
        "claims",
        "fails",
        "supposed",
        "uncertain",
        "unclear",
        "whether",
        "either",
    ),
    *("hardly", "sorry", "without", "except", "than", "if", "might", "could", "may", "maybe", "perhaps", "possibly"),
    *("unlikely", "doubt", "doubtful", "otherwise", "opposite", "anything", "far", "nothing", "incorrect", "wrong"),
    *("false", "mixed", "partly", "some", "somewhat", "likely", "probably", "isnt", "doesnt", "wouldnt", "dont", "0%"),
    *("small model", "estimate", "estimates", "classifier", "predicts", "predicted", "prediction"),
)
"""Words that keep a sentence from being an answer, as in "not positive" or "the small model says positive"."""

_CORRECTION = re.compile(
    r"\b(?:actually|wait|correction|instead|however|disagree|mistake|second thought|rather|no)\b|\bsorry\b"
)
"""Words after an answer that may take it back, if another label follows."""

_MARKER = re.compile(
    r"^(?:(?:so|thus|therefore|hence|my|the|final|correct|best|overall|predicted)[\s,]+)*"
    r"(?:answer|label|category|class|classification|sentiment|intent|topic|verdict|result|output)"
    r"[\s*_\"'`]*(?:\bis\b|:|=|->|→)?[\s*_\"'`]*"
)
_NAMED = r"(?:\b(?:is|was|as|be|being|about|under|into|to)|'s)\s+(?:(?:a|an|the|clearly|definitely|overall|very)\s+)?"
_SPLIT = re.compile(r"(?<=[.!?;])\s+|\n+")
_BULLET = re.compile(r"^(?:[-•]\s+|\d+[.)]\s+)")
_BARE = re.compile(r"[\W\d_]*|.", re.DOTALL)
_FUNCTION_WORDS = frozenset(
    (
        *("yes", "no", "true", "false", "other", "others", "none", "all", "any", "some", "the", "and", "or", "of"),
        *("to", "in", "on", "at", "by", "for", "from", "it", "this", "that", "is", "be", "as", "a", "an", "not"),
        *("unknown", "same", "more", "less", "most", "least", "good", "bad", "well", "can", "will", "may", "might"),
        *("one", "two", "three", "four", "five"),
    )
)


class Mention(NamedTuple):
    """One label form in a text, and whether its sentence says that something is it."""

    form: str
    named: bool


def plain(text: str) -> str:
    """A text in the form in which it is compared.

    It has one case and one kind of space and dash. Quotes and punctuation around it are gone.

    Example:
        >>> plain('  **"Card_Lost".** '), plain("<= 50K"), plain("−1")
        ('card lost', '<=50k', '-1')
    """
    text = _BULLET.sub("", _strip(_alike(text)))
    return _strip(_spaced(text))


def _strip(text: str) -> str:
    """The text without the signs around it.

    The point of ".5" stays, because ".5" is not 5.
    """
    stripped = text.strip(_AROUND)
    return f".{stripped}" if stripped[:1].isdigit() and text.lstrip(" \t\"'`*_(").startswith((".", ",")) else stripped


def _alike(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).casefold().translate(_SIGNS)


def _spaced(text: str) -> str:
    text = re.sub(r"(?<=\w)[_-](?=\w)|\s+", " ", text)
    return re.sub(r" ?([<>=+#]+) ?", r"\1", text)


class Forms:
    """The written forms of labels, and where a text holds them.

    Args:
        forms: The labels for each plain form. Several forms may stand for one label.
    """

    def __init__(self, forms: Mapping[str, set[Any]]) -> None:
        self._forms = {form: labels for form, labels in forms.items() if form}
        words = sorted(self._forms, key=len, reverse=True)  # so that the longest one wins
        either = "|".join(re.escape(word).replace(r"\ ", r"[\s_-]+") for word in words) or r"(?!)"
        around = r"(?<![\w+#<>=$~%/-])(?<!\d[.,])(?:{})(?![\w+#<>=%/]|-\w|[.,]\d)"
        self._pattern = re.compile(around.format(either))
        self._named = re.compile(rf"{_NAMED}[\"'`*(\[]*{around.format(either)}")
        self._doubt = re.compile(
            rf"\b(?:{'|'.join(re.escape(word) for word in _DOUBT if word not in self._forms)})\b|n't\b|\?"
        )

    def whole(self, text: str) -> str | None:
        """The form that makes up the whole text. None if there is none."""
        text = plain(text)
        return text if text in self._forms else None

    def decided(self, segment: str) -> str | None:
        """The form that a line or sentence gives as the answer.

        The line is the form alone, or a marker and the form.

        Example:
            >>> forms = Forms(forms_of(["lost", "card lost"], {}))
            >>> forms.decided("The label is: Card_Lost."), forms.decided("It may be lost")
            ('card lost', None)
        """
        if segment.rstrip(" \"'*_`)").endswith("?"):
            return None
        return self.whole(segment) or self.whole(_MARKER.sub("", plain(segment), count=1))

    def mentions(self, segment: str) -> list[Mention]:
        """The forms that occur in a sentence. Where forms overlap, the longest counts.

        A mention is named under three conditions. The sentence says that something is it, and casts no doubt. The form
        is a word that hardly stands there by chance (no digit, single letter, or function word).

        Example:
            >>> forms = Forms(forms_of(["positive", "negative"], {}))
            >>> forms.mentions("It is clearly positive."), forms.mentions("It is not positive.")
            ([Mention(form='positive', named=True)], [Mention(form='positive', named=False)])
        """
        text = re.sub(r"[*`]+", "", _alike(segment))
        doubted = self._doubt.search(text) is not None
        named = set() if doubted else {match.end() for match in self._named.finditer(text)}
        found = []
        for match in self._pattern.finditer(text):
            form = plain(match[0])
            telling = not _BARE.fullmatch(form) and form not in _FUNCTION_WORDS
            found.append(Mention(form, telling and match.end() in named))
        return found

    def first_word(self, text: str) -> str | None:
        """The form before the first comma, as in "No, it is broken"."""
        head, *after = re.split(r",(?=\s)", _alike(text).strip(_AROUND), maxsplit=1)  # not in "3,7"
        rest = "".join(after)
        return self.whole(head) if rest and not self._pattern.search(rest) and "?" not in rest else None


def segments(text: str) -> list[str]:
    """The lines and sentences of a text."""
    return [part for part in _SPLIT.split(text) if part.strip()]


def takes_back(text: str) -> bool:
    """Whether a text sounds like a correction of what was said before it."""
    return _CORRECTION.search(_alike(text)) is not None


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
    return forms
