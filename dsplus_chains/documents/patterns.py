"""`PatternExtractor`: spans of a text, found by the developer's own regular expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import regex
from pydantic import Field, field_validator
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import (
    DSPlusError,
    InvalidInputError,
    Passage,
    SubtaskResult,
    read_text,
    shown,
)

VALUE = "value"
"""Name of the group that holds the value. Without such a group, the value is the whole match."""

MOST_SECONDS = 1.0
"""How long an expression may compute on a text, by default. A sound one takes milliseconds."""


class PatternTimeoutError(DSPlusError, TimeoutError):
    """An expression took too long on a text."""


class PatternExtractor(ComputingRunnable[Any, SubtaskResult]):
    r"""Finds spans by named regular expressions: order numbers, dates, amounts.

    In: a text, or a record. Out: a `SubtaskResult`. Its `passages` are all spans found, in the order of the text.

    With one expression, the value is the span's text. With several, it is a dict of these texts by name. It is None
    where nothing is found.

    An expression may find several different spans. Then its value is the first one, and its confidence is 1 divided by
    their number. So a confidence of 1.0 means that there is exactly one span to choose from. With several expressions,
    the confidence is that of the least sure one. It is None if any expression finds nothing, since a span may have been
    missed.

    The library `regex` reads the expressions, in its version 0. Its syntax holds Python's own and more, such as
    ``\p{Lu}`` for a capital letter. Unlike Python's, its ``\w`` counts a combining accent as part of a word, and
    ``{e<=1}`` allows one error.

    The expressions must come from you, never from a model or a user. A repetition within a repetition, such as
    ``(x+x+)+y``, can take very long on some texts. `timeout` ends that, and the text's row fails. Other threads run
    meanwhile.

    Args:
        patterns: The expressions by name. An expression finds its group ``(?P<value>…)`` if it has one, else the whole
            match. Empty matches do not count.
        max_chars: Most characters of a text. Longer texts are refused. They can go through `MapSubtask`.
        timeout: Most seconds that one expression may compute on one text. What other threads compute counts as well.

    Raises:
        pydantic.ValidationError: There is no expression, or one does not compile.
        InvalidInputError: The input holds no text, or a text longer than `max_chars`.
        PatternTimeoutError: An expression took longer than `timeout` on a text. Then only the row of that text fails.

    Example:
        >>> orders = PatternExtractor(patterns={"order": r"\b[A-Z]-\d{4}\b"})
        >>> found = orders.invoke("Where is A-1234? I ordered A-1234 in May.")
        >>> found.value, found.confidence, [passage.start for passage in found.passages]
        ('A-1234', 1.0, [9, 27])
        >>> str(orders.invoke("Not A-1234, B-5678!"))
        'A-1234 (50 %)'
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = SubtaskResult

    patterns: Mapping[str, str] = Field(min_length=1)
    max_chars: int = Field(default=100_000, ge=1)
    timeout: float = Field(default=MOST_SECONDS, gt=0, allow_inf_nan=False)

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: Mapping[str, str]) -> Mapping[str, str]:
        for name, pattern in patterns.items():
            try:
                _compiled(pattern)
            except regex.error as error:
                msg = f"Got the expression {name}={shown(pattern)}, which does not compile: {error}"
                raise ValueError(msg) from error
        return dict(patterns)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return by_row(lambda value: self._extract(read_text(value, purpose="search")), inputs)

    def _extract(self, text: str) -> SubtaskResult:
        if len(text) > self.max_chars:
            msg = (
                f"Got a text of {len(text)} characters but expected at most max_chars={self.max_chars}. Cut it into "
                "parts with MapSubtask, or raise the bound"
            )
            raise InvalidInputError(msg)
        spans = {name: find_spans(text, pattern, timeout=self.timeout) for name, pattern in self.patterns.items()}
        distinct = {name: list(dict.fromkeys(span.text for span in found)) for name, found in spans.items()}
        values = {name: texts[0] if texts else None for name, texts in distinct.items()}
        most = max(len(texts) for texts in distinct.values())
        return SubtaskResult(
            value=_plain(values),
            confidence=None if None in values.values() else 1 / most,
            source="small",
            passages=tuple(sorted((span for found in spans.values() for span in found), key=lambda span: span.start)),
        )


def find_spans(text: str, pattern: str, *, timeout: float = MOST_SECONDS) -> list[Passage]:
    r"""The spans that an expression finds in a text, in order. Empty matches are left out.

    Args:
        text: Any text.
        pattern: The expression. Its group ``(?P<value>…)`` is the span, else the whole match.
        timeout: Most seconds to compute. What other threads compute counts as well.

    Raises:
        PatternTimeoutError: It took longer.

    Example:
        >>> [(span.text, span.start) for span in find_spans("order A1, order B2", r"order (?P<value>\w+)")]
        [('A1', 6), ('B2', 16)]
    """
    compiled = _compiled(pattern)
    group = VALUE if VALUE in compiled.groupindex else 0
    try:
        matches = list(compiled.finditer(text, timeout=timeout))  # all at once, so that only the search takes time
    except TimeoutError as error:
        msg = (
            f"Got the expression {shown(pattern)}, which was not done with a text of {len(text)} characters after "
            f"timeout={timeout:g} seconds. Write it without a repetition in a repetition, or raise the bound"
        )
        raise PatternTimeoutError(msg) from error
    return [Passage(text=found[group], start=found.start(group)) for found in matches if found[group]]


def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.VERSION0)  # version 1 reads some expressions otherwise than Python does


def _plain(values: dict[str, str | None]) -> Any:
    """The value of a single expression, or the dict of several. None if nothing was found."""
    if len(values) == 1:
        return next(iter(values.values()))
    return values if any(values.values()) else None
