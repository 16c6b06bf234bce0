"""HTML of small tables. Whatever they show is data, so all of it is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from dsplus_chains.schema.wording import shorten, shown

LONG = 160
"""Number of characters from which a text is folded."""

MOST_ROWS = 12
"""Most rows of a box. A notebook shows them on one screen."""

_LONGEST = 200
"""Most characters of a cell in a box."""


def folded(text: str, *, width: int = LONG) -> str:
    """A text for a page. Of a long one only the beginning is open, and a click unfolds the rest.

    Example:
        >>> folded("a < b")
        'a &lt; b'
        >>> folded("one two three", width=7)
        '<details><summary>one two…</summary>one two three</details>'
    """
    if len(text) <= width:
        return escape(text)
    return f"<details><summary>{escape(shorten(text, width))}</summary>{escape(text)}</details>"


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, prose: Collection[str] = ()) -> str:
    """A table of texts.

    Args:
        header: Names of the columns. Without names there is no such row.
        rows: Texts, one a column. The first one names the row.
        prose: Names of the columns that hold running text. Lines may break anywhere in it.

    Example:
        >>> html_table(["label"], [["<b>"]])
        '<table><tr><th scope="col">label</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    kinds = [' class="prose"' if name in prose else "" for name in header]
    lines = [f"<tr>{head}</tr>"] if head else []
    for row in rows:
        opened = kinds or [""] * len(row)
        cells = (f"<td{kind}>{folded(cell)}</td>" for kind, cell in zip(opened, row, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def html_box(title: str, facts: Mapping[str, Any], *, lead: str = "") -> str:
    """What a notebook shows of an object, at most a screen high.

    Args:
        title: What it is.
        facts: Values by name. They are cut short, and at most 12 are shown.
        lead: A sentence before them.

    Example:
        >>> html_box("Threshold", {"threshold": 0.8}, lead="It keeps <all>.")
        '<div><b>Threshold</b><p>It keeps &lt;all&gt;.</p><table><tr><td>threshold</td><td>0.8</td></tr></table></div>'
    """
    rows = [[shorten(str(name), LONG), _told(value)] for name, value in islice(facts.items(), MOST_ROWS)]
    if (more := len(facts) - MOST_ROWS) > 0:
        rows.append(["…", f"and {more} more"])
    said = f"<p>{escape(shorten(lead, 5 * _LONGEST))}</p>" if lead else ""
    lines = (f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<div><b>{escape(shorten(title, LONG))}</b>{said}<table>{''.join(lines)}</table></div>"


def _told(value: Any) -> str:
    return shorten(value if isinstance(value, str) else shown(value, _LONGEST), _LONGEST)
