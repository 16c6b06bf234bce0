"""The shape of a request: the request without its numbers and short quotations.

Requests of the same shape share a plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import (
    InvalidInputError,
    what_came,
)

_VALUE = re.compile(r'"[^"\n]+"|“[^“”\n]+”|«[^«»\n]+»|(?<!\w)\'[^\'\n]+\'(?!\w)|(?<!\w)(?>\d+(?:[.,:/]\d+)*)(?!\w)')
_PLACE = re.compile(r"\[(?:number|quote) \d{1,4}\]")
_LETTER = re.compile(r"[^\W\d_]")

MOST_WORDS = 5
"""Most words of a short quotation. A longer one is part of the shape."""

LONGEST_QUOTE = 40
"""Most characters of a short quotation. Not all languages put spaces between words."""

LONGEST_REQUEST = 10_000
"""Most characters of a request with places. A longer one is a document, and hardly another one has its shape."""


def request_of(record: Mapping[str, Any]) -> str:
    """The request of a record. Without a `request`, its `input` is the request.

    Raises:
        InvalidInputError: The request is no text.
    """
    request = record.get("request", record.get("input"))
    if isinstance(request, str) and request.strip():
        return str(request)
    msg = f"Got the request {what_came(request)} but expected a text that says what is wanted"
    raise InvalidInputError(msg)


def placed(request: str) -> tuple[str, dict[str, str]]:
    """A request with places for its numbers and short quotations, and the value of each place.

    A quotation may be the task itself. So a long quotation stays. All quotations stay if no words are left beside the
    short ones. In a request of more than 10,000 characters all stay, and the numbers too.

    Example:
        >>> placed('Name 2 complaints about "the app".')
        ('Name [number 1] complaints about [quote 2].', {'[number 1]': '2', '[quote 2]': '"the app"'})
        >>> placed('"Translate it."')
        ('"Translate it."', {})
    """
    if len(request) > LONGEST_REQUEST:
        return request, {}
    quotes = _LETTER.search(_VALUE.sub(lambda found: "" if _is_short(found[0]) else found[0], request)) is not None
    values: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        is_number = found[0][0].isdigit()
        if not (is_number or (quotes and _is_short(found[0]))):
            return found[0]
        name = f"[{'number' if is_number else 'quote'} {len(values) + 1}]"
        values[name] = found[0]
        return name

    return _VALUE.sub(place, request), values


def places_in(text: str) -> list[str]:
    """The places that a text names.

    Example:
        >>> places_in("Order [number 1] for [quote 2]: {tone}")
        ['[number 1]', '[quote 2]']
    """
    return _PLACE.findall(text)


def request_shape(request: str) -> str:
    """The shape of a request: in lower case, with single spaces, and places for numbers and short quotations.

    A digit within a word ("B2B", "5kg") is a part of the word.

    Example:
        >>> request_shape("Name 2  complaints.") == request_shape("name 5 complaints.")
        True
        >>> request_shape("Name 2 complaints.") == request_shape("Name 2 reasons.")
        False
    """
    return " ".join(placed(request)[0].split()).casefold()


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text of a plan with values in its places.

    Args:
        text: A text that was written for a request's shape.
        values: The value of each place in the current request.

    Raises:
        InvalidInputError: The text names a place that the request does not have.

    Example:
        >>> filled("Where is [quote 1]?", placed('Does it say "late" ?')[1])
        'Where is "late"?'
    """
    if missing := [place for place in places_in(text) if place not in values]:
        msg = f"Got a request without the values of {missing}, which its plan names; it was made for another request"
        raise InvalidInputError(msg)
    return _PLACE.sub(lambda place: values[place[0]], text)


def question_of(record: Mapping[str, Any], *, question: str | None, places: bool) -> str:
    """The question of a step for a record, with the request's own values in the places.

    Args:
        record: A record with `request`.
        question: The step's question. None: the request itself.
        places: Whether the question was written for the request's shape, and so may hold places.
    """
    request = request_of(record)
    if question is None:
        return request
    return filled(question, placed(request)[1]) if places else question


def _is_short(value: str) -> bool:
    return len(value) <= LONGEST_QUOTE and len(value.split()) <= MOST_WORDS
