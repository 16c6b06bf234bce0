"""The shape of a request: what is left of it without its numbers and quotations. Requests of a shape share a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import InvalidInputError

_VALUE = re.compile(r'"[^"\n]+"|“[^“”\n]+”|«[^«»\n]+»|(?<!\w)\'[^\'\n]+\'(?!\w)|(?<!\w)(?>\d+(?:[.,:/]\d+)*)(?!\w)')
_PLACE = re.compile(r"\[(?:number|quote) (\d{1,4})\]")


def request_of(record: Mapping[str, Any]) -> str:
    """What is asked of a record: its `request`; without one, its `input` is the request.

    Raises:
        InvalidInputError: That is no text.
    """
    request = record.get("request", record.get("input"))
    if isinstance(request, str) and request.strip():
        return str(request)
    msg = f"Got the request {request!r:.80} ({type(request).__name__}) but expected a text that says what is wanted"
    raise InvalidInputError(msg)


def placed(request: str) -> tuple[str, list[str]]:
    """A request with places where its numbers and quotations stood, and what stood there.

    Example:
        >>> placed('Name 2 complaints about "the app".')
        ('Name [number 1] complaints about [quote 2].', ['2', '"the app"'])
    """
    values: list[str] = []

    def place(found: re.Match[str]) -> str:
        values.append(found[0])
        return f"[{'number' if found[0][0].isdigit() else 'quote'} {len(values)}]"

    return _VALUE.sub(place, request), values


def request_shape(request: str) -> str:
    """The shape of a request: one case, one kind of space, places for numbers and quotations.

    A digit within a word ("B2B", "5kg") is a part of the word.

    Example:
        >>> request_shape("Name 2  complaints.") == request_shape("name 5 complaints.")
        True
        >>> request_shape("Name 2 complaints.") == request_shape("Name 2 reasons.")
        False
    """
    return " ".join(placed(request)[0].split()).casefold()


def question_of(record: Mapping[str, Any], *, question: str | None, places: bool) -> str:
    """What a step is asked for a record: its question, with the request's own values in the places.

    Args:
        record: A record with `request`.
        question: The step's question; None: the request itself.
        places: Whether the question was written for the request's shape, and so may hold places.

    Example:
        >>> question_of({"request": 'Does it say "late" ?'}, question="Where is [quote 1]?", places=True)
        'Where is "late"?'
    """
    request = request_of(record)
    if question is None:
        return request
    values = placed(request)[1] if places else []

    def fill(place: re.Match[str]) -> str:
        number = int(place[1])
        return values[number - 1] if 0 < number <= len(values) else place[0]

    return _PLACE.sub(fill, question)
