"""`PatternExtractor`: what regular expressions of the developer's own find in a text, verbatim."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable
from dsplus_chains.schema import (
    InvalidInputError,
    Passage,
    SubtaskResult,
    read_text,
    shown,
)

VALUE = "value"
"""The group of an expression that is what it finds; without such a group that is the whole match."""


class PatternExtractor(ComputingRunnable[Any, SubtaskResult]):
    r"""Finds spans by named regular expressions: order numbers, dates, amounts.

    In: a text, or a record. Out: a `SubtaskResult` with every span found as its `passages`, in the order of the text.
    With one expression the value is the span's text, with several a dict of these by name; None where nothing is
    found. An expression that finds several different spans gives the first one, with a confidence of one in so many:
    1.0 therefore means that there is exactly one to choose from. The confidence of several expressions is that of the
    least sure; it is None if one finds nothing, since nobody knows whether there is nothing.

    Expressions come from you, never from a model or a user: Python has no time limit for them, and one with a
    repetition within a repetition, ``(a+)+``, can take forever. `max_chars` bounds what they are let loose on; longer
    texts go through `MapSubtask`.

    Args:
        patterns: The expressions by name. What is found is the group ``(?P<value>…)``, if there is one, else the
            match. Empty matches do not count.
        max_chars: Longer texts are refused.

    Raises:
        pydantic.ValidationError: No expression, or one that does not compile.
        InvalidInputError: The input holds no text, or a longer one than `max_chars`.

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

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: Mapping[str, str]) -> Mapping[str, str]:
        for name, pattern in patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                msg = f"Got the expression {name}={shown(pattern)}, which does not compile: {error}"
                raise ValueError(msg) from error
        return dict(patterns)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        results: list[SubtaskResult | Exception] = []
        for value in inputs:
            try:
                results.append(self._extract(read_text(value, purpose="search")))
            except InvalidInputError as error:
                results.append(error)
        return results

    def _extract(self, text: str) -> SubtaskResult:
        if len(text) > self.max_chars:
            msg = (
                f"Got a text of {len(text)} characters but expected at most max_chars={self.max_chars}. Cut it into "
                "parts with MapSubtask, or raise the bound"
            )
            raise InvalidInputError(msg)
        spans = {name: find_spans(text, pattern) for name, pattern in self.patterns.items()}
        distinct = {name: list(dict.fromkeys(span.text for span in found)) for name, found in spans.items()}
        values = {name: texts[0] if texts else None for name, texts in distinct.items()}
        most = max(len(texts) for texts in distinct.values())
        return SubtaskResult(
            value=_plain(values),
            confidence=None if None in values.values() else 1 / most,
            source="small",
            passages=tuple(sorted((span for found in spans.values() for span in found), key=lambda span: span.start)),
        )


def find_spans(text: str, pattern: str) -> list[Passage]:
    r"""What an expression finds in a text, in order; empty matches are left out.

    Example:
        >>> [(span.text, span.start) for span in find_spans("order A1, order B2", r"order (?P<value>\w+)")]
        [('A1', 6), ('B2', 16)]
    """
    compiled = re.compile(pattern)
    group = VALUE if VALUE in compiled.groupindex else 0
    return [Passage(text=found[group], start=found.start(group)) for found in compiled.finditer(text) if found[group]]


def _plain(values: dict[str, str | None]) -> Any:
    """The value of a single expression itself; of several the dict, unless none has found anything."""
    if len(values) == 1:
        return next(iter(values.values()))
    return values if any(values.values()) else None
