"""The large model's reason beside its label: how it is asked for, and how it is found in an answer."""

from __future__ import annotations

import re
from typing import Any

from langchain_core.messages import BaseMessage

from dsplus_chains.running.messages import answer_in, without_thoughts
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

_REASON = re.compile(
    r"(?:^|(?<=\s))[*_#>-]{0,4} ?(?:reason|rationale|explanation|why)[*_]{0,3} ?[:：][*_]{0,3}(.*)$",
    re.IGNORECASE | re.MULTILINE,
)


def cut_reason(said: str) -> tuple[str, str | None]:
    r"""An answer without the first reason in it, and the reason. The reason ends with its line.

    Args:
        said: The answer, without thoughts.

    Returns:
        The rest, and None if there is no reason.

    Example:
        >>> cut_reason("negative\nReason: It broke."), cut_reason("negative")
        (('negative', 'It broke.'), ('negative', None))
        >>> cut_reason("**Reason:** It broke.\nLabel: negative")
        ('Label: negative', 'It broke.')
    """
    found = _REASON.search(said)
    if found is None:
        return said, None
    rest = f"{said[: found.start()]}{said[found.end() :]}".strip()
    return rest, shorten(" ".join(found[1].split()), LONGEST) or None


def reason_in(answer: Any) -> str | None:
    r"""The reason in a chat model's answer. None if it gives none.

    Args:
        answer: A message or a text.

    Example:
        >>> reason_in("negative\nReason: It broke at once."), reason_in({"label": "negative"})
        ('It broke at once.', None)
    """
    said = answer_in(answer) if isinstance(answer, BaseMessage) else answer
    return cut_reason(without_thoughts(said).strip())[1] if isinstance(said, str) else None
