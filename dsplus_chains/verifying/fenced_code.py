"""Code in a model's answer, which may be fenced as in Markdown."""

from __future__ import annotations

import re
from typing import Any

_LONGEST = 100_000
"""The most characters of code that are looked at."""
_OPENING = re.compile(r"(?:^(?P<margin>[ \t]*)(?P<fence>`{3,}+|~{3,}+)|(?<!`)(?P<inner>`{3,}+))[^`\n]*\n", re.MULTILINE)
_ONE_LINE = re.compile(r"\s*(`{1,3})(?:(?:python3?|py|sqlite|sql|json)\s)?([^`\n]+)\1\s*")


def code_in(answer: Any) -> str:
    r"""The code in an answer, which may be fenced as in Markdown. The first block counts.

    A fence in the code, such as in a docstring, does not end the block if it is further in than the block's own. Of a
    block in a list, the indent of the list is taken away. Models also begin or end a fence within a line, which is no
    fence to a parser of Markdown.

    Example:
        >>> code_in("Sure:\n```python\nx = 1\n```\nThat is it.")
        'x = 1\n'
        >>> code_in("1. Do this.\n   ~~~\n   if x:\n       y()\n   ~~~"), code_in("`x = 1`")
        ('if x:\n    y()\n', 'x = 1')
    """
    text = str(answer)[:_LONGEST].replace("\r\n", "\n")
    if (line := _ONE_LINE.fullmatch(text)) is not None:
        return line[2]
    if (opening := _OPENING.search(text)) is None:
        return text
    fence, margin = opening["fence"] or opening["inner"], len(opening["margin"] or "")
    code = text[opening.end() :]
    ends = re.compile(rf"^[ \t]{{0,{margin + 3}}}{fence}[{fence[0]}]*(?P<more>[^\n]*)", re.MULTILINE)
    end = ends.search(code)
    # Else the end of the block is in a line of code, or missing.
    code = code[: end.start()] if end is not None and not end["more"].strip() else code.split(fence, 1)[0]
    return re.sub(rf"^[ \t]{{1,{margin}}}", "", code, flags=re.MULTILINE) if margin else code
