"""The wording of values in messages, prompts and reports, one for each kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from reprlib import Repr
from typing import Any

WIDTH = 80
"""Number of characters of a value that a message shows."""

_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_SHORT = Repr()
_SHORT.maxother = _SHORT.maxstring = WIDTH
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 5


def shorten(text: str, width: int) -> str:
    """The beginning of a text longer than `width` characters, and a sign that it goes on."""
    return text if len(text) <= width else f"{text[:width].rstrip()}…"


def shown(value: Any, width: int = WIDTH) -> str:
    """A value for a message, cut short. Its whole text is never made.

    Example:
        >>> shown("a" * 1000, 5), shown(list(range(1000)))
        ("'aaaaa…'", '[0, 1, 2, 3, 4, ...]')
    """
    if isinstance(value, (str, bytes)) and len(value) > width:
        text = repr(value[:width])
        return f"{text[:-1]}…{text[-1]}"
    if isinstance(value, (str, bytes)):
        return repr(value)
    try:
        return shorten(_SHORT.repr(value), width)
    except ValueError:  # Python writes no number of more than some thousand digits
        return f"a long {type(value).__name__}"


def what_came(value: Any) -> str:
    """The value that came in, for an error such as "Got 7 (int) but expected a text".

    Example:
        >>> what_came(7), what_came({"text": "…", "id": 1})
        ('7 (int)', "a dict with the keys ['id', 'text']")
    """
    if isinstance(value, Mapping):
        keys = sorted(shorten(str(key), WIDTH) for key in value)
        more = f" and {len(keys) - 12} more" if len(keys) > 12 else ""
        return f"a {type(value).__name__} with the keys {keys[:12]}{more}"
    return f"{shown(value)} ({type(value).__name__})"


def visible(text: str) -> str:
    r"""A text for a terminal. Signs that a terminal would obey, such as escape codes, are shown by their numbers.

    Example:
        >>> print(visible("all \x1b[2J gone"))
        all \x1b[2J gone
    """
    return "".join(ascii(sign)[1:-1] if _is_obeyed(sign) else sign for sign in text)


def _is_obeyed(sign: str) -> bool:
    """Whether a sign controls a terminal, turns the direction of what follows, or is half of a character."""
    return unicodedata.bidirectional(sign) in _TURNING or (
        unicodedata.category(sign) in {"Cc", "Cs"} and sign not in "\n\t"
    )


def percent(confidence: float | None) -> str:
    """A probability for people and prompts, in whole percents. It is never rounded to certainty.

    Example:
        >>> percent(0.973), percent(0.9999), percent(0.001), percent(None)
        ('97 %', 'over 99 %', 'under 1 %', 'confidence unknown')
    """
    if confidence is None:
        return "confidence unknown"
    rounded = round(100 * confidence)
    if rounded == 100 and confidence < 1:
        return "over 99 %"
    return "under 1 %" if rounded == 0 and confidence > 0 else f"{rounded} %"


def share(measured: float | None, *, missing: str = "unknown") -> str:
    """A measured share for people, to a tenth of a percent.

    Example:
        >>> share(0.9512), share(None)
        ('95.1 %', 'unknown')
    """
    return missing if measured is None else f"{100 * measured:.1f} %"


def span(low: float, high: float) -> str:
    """An interval of shares for people.

    Example:
        >>> span(0.25, 0.5)
        '25.0 to 50.0 %'
    """
    return f"{100 * low:.1f} to {100 * high:.1f} %"
