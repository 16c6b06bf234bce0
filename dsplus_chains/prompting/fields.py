"""Answers in fields: JSON, tags and LaTeX, alone or within prose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dsplus_chains.prompting.answer_words import INPUTS, NOTES, rank
from dsplus_chains.running.messages import unique_keys

DEEPEST = 5
"""Most objects, lists and texts around a label or a reason that are opened."""

_READER = json.JSONDecoder(object_pairs_hook=unique_keys)
_BESIDE = {"id", *NOTES, *INPUTS}
_LONGEST_KEY = 60
_MOST = 8
"""Number of places in a text where an object is looked for."""

_FENCED = re.compile(r"(?:```|~~~)[a-zA-Z]{0,20}(?:[ \t]*\n|(?=[ \t]*[{\[]))")
_TAG = re.compile(r"<([a-zA-Z][\w-]{0,40})(?:\s[^<>]{0,200})?>([^<>]*)</\1>")
_SQUARE_TAG = re.compile(r"\[([a-zA-Z][\w-]{0,40})\]([^\[\]]*)\[/\1\]")
_ANGLES = re.compile(r"(?:<|<<)([^<>/]*)(?:>|>>)")
_LOOK = re.compile(r"</?(?:b|i|u|em|strong|code|span|mark|tt|kbd)(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_LINE = re.compile(
    r"</?(?:p|br|div|pre|h[1-6]|li|ul|ol|tool_call|function_call|json|response)(?:\s[^<>]{0,200})?/?>", re.IGNORECASE
)
_OPEN_TAG = re.compile(r"<([a-zA-Z][\w-]{0,40})>([^<>]*)$")
_END = re.compile(r"(?:<\|\w{1,30}\|>|</s>|<eos>|<end_of_turn>)\s*$")
_LATEX = re.compile(
    r"\${0,2}\\(?:boxed|fbox|framebox|text|textbf|textit|texttt|textrm|textsf|mathrm|mathbf|mathsf|mathit|mathtt|emph|underline|mbox)"
    r"\s?\{([^{}]*)\}\${0,2}"
)
_MATHS = re.compile(r"\\[()\[\]]")


def candidates(data: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    """The values of an object that must be its answer, and those that must not contradict it.

    Keys such as "label" hold the answer. Without one, keys such as "sentiment" do. Without these, it is the only value,
    if that is a text and its key is the name of a thing.

    Example:
        >>> candidates({"label": "spam", "topic": "money", "confidence": 0.9}), candidates({"weather": "rain"})
        ((['spam'], ['money']), (['rain'], []))
        >>> candidates({"rejected": "spam"})
        ([], [])
    """
    ranked: dict[int | None, list[Any]] = {}
    for key, value in data.items():
        known = rank(key) if isinstance(key, str) and len(key) <= _LONGEST_KEY else None
        ranked.setdefault(known, []).append(value)
    if 0 in ranked:
        return ranked[0], [value for value in ranked.get(1, []) if isinstance(value, str)]
    if 1 in ranked:
        return ranked[1], []
    beside = sum(isinstance(key, str) and key.lower() in _BESIDE for key in data)
    only = ranked.get(2, [])
    lone = len(only) == 1 and len(data) == 1 + beside and not isinstance(only[0], (bool, int, float))
    return (only if lone else []), []


def as_text(value: Any) -> list[str]:
    """How a number or a truth value of JSON may be written as a label. Empty for anything else.

    Example:
        >>> as_text(5.0), as_text(True), as_text("5")
        (['5.0'], ['true', 'yes'], [])
    """
    if isinstance(value, bool):
        return ["true", "yes"] if value else ["false", "no"]
    return [str(value)] if isinstance(value, (int, float)) else []


def whole_json(text: str) -> Any:
    """What a stripped text holds that is nothing but JSON, perhaps in a code block. None if it is anything else.

    Raises:
        ValueError: An object names a key twice, or a number is too long.
    """
    if opened := _FENCED.match(text):
        text = text[opened.end() :].removesuffix(opened[0][:3]).strip()
    if text[:1] not in {"{", "[", '"'} or text[-1:] not in {"}", "]", '"'}:
        return None
    try:
        found = _READER.decode(text)
    except (json.JSONDecodeError, RecursionError):
        return None  # prose that happens to start with a bracket
    return None if isinstance(found, str) and found.lstrip()[:1] not in {"{", "["} else found


def without_objects(text: str, read: Callable[[Any], str]) -> str:
    """Prose, where "Answer: spam" stands in place of each JSON object.

    Args:
        text: The prose.
        read: Function that gives the label in an object, as it is written.

    Raises:
        ValueError: An object names a key twice, or `read` raises.

    Example:
        >>> without_objects('Sure! {"label": "spam"}', lambda found: found["label"])
        'Sure! Answer: spam.'
    """
    done, start = [], 0
    for place, end, found in objects_in(text):
        done.append(f"{text[start:place]}Answer: {read(found)}.")
        start = end
    return "".join([*done, text[start:]])


def objects_in(text: str) -> Iterator[tuple[int, int, Any]]:
    """The JSON objects in a text, each with the places where it begins and ends.

    Raises:
        ValueError: An object names a key twice.

    Example:
        >>> list(objects_in('Sure! {"label": "spam"}'))
        [(6, 23, {'label': 'spam'})]
    """
    end = 0
    for _ in range(_MOST):
        place = text.find("{", end)
        if place < 0:
            break
        try:
            found, end = _READER.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
            continue
        yield place, end, found


def without_markup(text: str) -> str:
    r"""A text, where "label: spam" stands in place of a tag of that name, and what only changes the look is gone.

    Example:
        >>> without_markup("<label>spam</label>"), without_markup("It is <b>$\\boxed{\\text{spam}}$</b>.")
        ('label: spam.\n', 'It is spam.')
    """
    if angles := _ANGLES.fullmatch(text):
        text = angles[1]
    if "<" in text:
        for _ in range(3):
            text = text[:-40] + _END.sub("", text[-40:])
        text = _LINE.sub("\n", _LOOK.sub("", text))
        for _ in range(3):
            text, count = _TAG.subn(r"\1: \2.\n", text)
            if not count:
                break
        text = _OPEN_TAG.sub(r"\1: \2", text)
    text = _SQUARE_TAG.sub(r"\1: \2.\n", text)
    if "\\" in text:
        text = _MATHS.sub("", text)
        for _ in range(3):
            text, count = _LATEX.subn(r"\1", text)
            if not count:
                break
    return text
