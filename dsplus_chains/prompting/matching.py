"""Finding labels in what a chat model wrote: pure functions over text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_AROUND = " \t\r\n\"'`*_.,:;!?()[]{}<>“”‘’„«»|~"
"""What may stand around an answer without being part of it: quotes, brackets, Markdown, final punctuation."""

_DOUBTS = (
    *("not", "never", "neither", "nor", "no", "cannot", "unable", "unsure", "uncertain", "unclear", "whether"),
    *("either", "hardly", "sorry", "without", "except", "than", "if", "might", "could"),
)
"""Words before a label that keep it from being an answer: "not positive", "cannot tell whether it is positive"."""

_MARKER = re.compile(
    r"\b(?:answer|label|category|class|classification|sentiment|intent|topic|prediction|verdict)\b"
    r"[\s*_\"'`]*(?:is\b|:|=|->|→)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_BULLET = re.compile(r"^[-•]\s+")
_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)


def plain(text: str) -> str:
    """A text as it is compared: no thoughts, no quotes or punctuation around it, one case, one kind of space.

    Example:
        >>> plain('  **"Card_Lost".** ')
        'card lost'
    """
    text = _straight(_THINKING.sub(" ", text)).strip(_AROUND)
    return _spaced(_BULLET.sub("", text)).strip(_AROUND)


def _spaced(text: str) -> str:
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)|\s+", " ", text)


def _straight(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'")


class Mentions:
    """Which of several forms (the writings of labels) a text mentions.

    Args:
        forms: The label for each plain form; several forms may stand for one label.
    """

    def __init__(self, forms: Mapping[str, Any]) -> None:
        self._forms = dict(forms)
        words = sorted(self._forms, key=len, reverse=True)  # so that the longest one wins
        spaced = (
            ("(?<!-)" if word.isdigit() else "") + re.escape(word).replace(r"\ ", r"[\s_-]+") for word in words if word
        )
        self._pattern = re.compile(
            # Not inside a word or a number, nor behind a prefix: "non-negative" does not mention "negative".
            rf"(?<![\w+#])(?<!\w-)(?<!\d[.,])(?:{'|'.join(spaced)})(?![\w+#]|-\w|[.,]\d)"
        )
        self._doubt = re.compile(rf"\b(?:{'|'.join(word for word in _DOUBTS if word not in self._forms)})\b|n't\b")

    def whole(self, text: str) -> Any | None:
        """The form that the text is, nothing else; None if it is none."""
        text = plain(text)
        return text if text in self._forms else None

    def within(self, text: str) -> tuple[set[str], bool]:
        """The forms that occur in a text, longest first where they overlap, and whether one stands in doubt.

        Example:
            >>> mentions = Mentions({"lost": 1, "card lost": 2})
            >>> mentions.within("It is about Card_Lost.")
            ({'card lost'}, False)
            >>> mentions.within("It is not lost.")
            ({'lost'}, True)
        """
        found, doubted = set(), False
        for sentence in _SENTENCE.split(_straight(_THINKING.sub(" ", text))):
            doubt = self._doubt.search(sentence)
            for match in self._pattern.finditer(sentence):
                found.add(_spaced(match[0]))
                doubted = doubted or (doubt is not None and doubt.start() < match.start())
        return found, doubted

    def marked(self, text: str) -> list[str]:
        """What follows "Answer:", "the label is" and the like, each to the end of its sentence."""
        text = _THINKING.sub(" ", text)
        return [_SENTENCE.split(text[match.end() :].lstrip(), maxsplit=1)[0] for match in _MARKER.finditer(text)]


def forms_of(labels: Iterable[Any], aliases: Mapping[str, Any]) -> dict[str, Any]:
    """The plain forms of labels and aliases; a form that could be several labels maps to a set of them.

    Booleans may also be written yes and no.

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
