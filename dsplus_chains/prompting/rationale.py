"""The large model's reason beside its label: how it is asked for, and how it is found in an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.prompting.fields import DEEPEST, objects_in, without_markup
from dsplus_chains.running.messages import answer_in, said_and_parsed, without_thoughts
from dsplus_chains.schema import shorten

MOST_WORDS = 15
"""Number of words that the large model may use."""

LONGEST = 300
"""Number of characters of a reason that are kept, since not every model counts its words."""

HOW_TO_ANSWER = (
    'Answer in two lines and nothing else. The first is "Label:" and exactly one of these labels, written as it is '
    f'here. The second is "Reason:" and at most {MOST_WORDS} words on what in the input speaks for it.'
)
ASKED_FOR = "Label and reason:"
"""How the prompt ends. After "Label:" many a model gives the label alone."""

_WORD = r"(?:reasons?|reasoning|rationale|explanation|justification|why)"
_CALLED = rf"(?:(?:the|my|a|brief|short|main|key) ){{0,2}}{_WORD}[*_]{{0,3}}"
_MARKS = r"(?:[*_#>•|-]{1,4} ?|\(?\d{1,2}[.):] ?|(?:second|line 2): ?){0,3}"
_HEAD = re.compile(
    rf"(?:^{_MARKS}|(?<=\s)(?<!label: )(?P<bracket>[(\[])?{_MARKS}){_CALLED} ?[:：](?!\s*\{{)[*_]{{0,3}}"
    rf"|^{_MARKS}{_CALLED}(?: ?[–—=]| --?)(?= )|^{_MARKS}{_CALLED}[ \t\r]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""What a reason stands behind. It has a colon, or it begins or fills a line. What stands behind it may be no JSON."""
_BEFORE = re.compile(r"[*_#]{0,4} ?(?:label and reason|first|line 1)[*_]{0,3}:[*_]{0,3}\s*", re.IGNORECASE)
"""What the prompt says before an answer, if the model repeats it."""
_NEXT_LINE = re.compile(r"\s*(?:[-*>•]\s)?(.*)")
_KEY = re.compile(rf"(?:\w+[ _-])?{_WORD}", re.IGNORECASE)


def cut_reason(said: str, states: Callable[[str], bool] = lambda _: False) -> tuple[str, str | None]:
    r"""An answer without the first reason in it, and the reason. The reason ends with its line.

    If nothing stands behind "Reason:", the next line is the reason. The reason in JSON is not cut out.

    Args:
        said: The answer, without thoughts.
        states: Function that says whether a line states a label. Such a line is no reason, as "Return reason: broken".

    Returns:
        The rest, and None if there is no reason.

    Example:
        >>> cut_reason("negative\nReason: It broke."), cut_reason("negative")
        (('negative', 'It broke.'), ('negative', None))
        >>> cut_reason("1. Label: negative\n2. **Reason:**\nIt broke.")
        ('1. Label: negative', 'It broke.')
    """
    said = _BEFORE.sub("", said, count=1) if _BEFORE.match(said) else said
    try:
        objects = list(objects_in(said))
    except ValueError:  # no answer is read from JSON that names a key twice
        return said, None
    if not objects:  # what stands in JSON keeps its place
        said = without_markup(said)
    heads = [head for head in _HEAD.finditer(said) if not any(start < head.start() < end for start, end, _ in objects)]
    for head, following in zip_longest(heads, heads[1:]):
        line = said.rfind("\n", 0, head.start()) + 1
        end = _end_of_line(said, head.end())
        if states(said[line : end if following is None else min(end, following.start())]):
            continue
        reason = _tidy(said[head.end() : end].rstrip(")] " if head["bracket"] else None))
        if reason is None and (more := _NEXT_LINE.match(said, end)) and not states(more[1]):
            reason, end = _tidy(more[1]), more.end()
        return f"{said[: head.start()]}{said[end:]}".strip(), reason
    return said, next((reason for *_, found in objects if (reason := _reason_under(found))), None)


def reason_in(answer: Any, states: Callable[[str], bool] = lambda _: False) -> str | None:
    r"""The reason in a chat model's answer. None if it gives none.

    Args:
        answer: A message, a text, or an object.
        states: Function that says whether a line states a label.

    Example:
        >>> reason_in("negative\nReason: It broke at once."), reason_in({"label": "negative", "reason": "It broke."})
        ('It broke at once.', 'It broke.')
    """
    answer, _ = said_and_parsed(answer)
    said = answer_in(answer) if isinstance(answer, BaseMessage) else answer
    return cut_reason(without_thoughts(said).strip(), states)[1] if isinstance(said, str) else _reason_under(said)


def _reason_under(value: Any, depth: int = 0) -> str | None:
    """The first reason under a key of such a name."""
    if depth > DEEPEST or not isinstance(value, (Mapping, list)):
        return None
    if isinstance(value, Mapping):
        for key, told in value.items():
            parts = told if isinstance(told, list) else [told]
            if _KEY.fullmatch(str(key)) and all(isinstance(part, str) for part in parts):
                return _tidy(" ".join(parts))
    within = value.values() if isinstance(value, Mapping) else value
    return next((reason for one in within if (reason := _reason_under(one, depth + 1))), None)


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _tidy(reason: str) -> str | None:
    """A reason in one line of some length, without emphasis around it. None if it says nothing."""
    return shorten(" ".join(reason.split()).strip(" *_|"), LONGEST) or None
