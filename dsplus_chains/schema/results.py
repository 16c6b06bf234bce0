"""The results of subtasks, and their wording in a prompt."""

from __future__ import annotations

from textwrap import indent
from typing import Any

from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables.utils import AddableDict
from pydantic import Field
from typing_extensions import override

from dsplus_chains.schema.prediction import Confidence
from dsplus_chains.schema.value import Value
from dsplus_chains.schema.wording import percent, shorten

SKIPPED = "skipped"
"""The `source` of a result whose subtask was not run for an input."""


ASKED_LARGE = ("large", "fused")
"""The values of `source` that mean the large model has answered."""
DEFERRED = (*ASKED_LARGE, "fallback")
"""The sources of what the small model did not answer alone."""


class Passage(Value):
    """A piece of a longer text, verbatim, and its place there.

    Args:
        text: The piece.
        start: The offset of its first character. None if the text does not hold the piece verbatim.
        number: Its number among the pieces, from 1. None if they are not counted.

    Example:
        >>> str(Passage(text="It broke at once.", start=120, number=3))
        '[3] It broke at once.'
    """

    text: str
    start: int | None = Field(default=None, ge=0)
    number: int | None = Field(default=None, ge=1)

    @property
    def end(self) -> int | None:
        """The offset behind its last character."""
        return None if self.start is None else self.start + len(self.text)

    @override
    def __str__(self) -> str:
        return self.text if self.number is None else f"[{self.number}] {self.text}"


class SubtaskResult(Value):
    """The result of one subtask.

    Args:
        value: The result itself. None if the subtask failed or was skipped.
        confidence: Confidence of whoever answered, in [0, 1], or None if it does not say.
        source: Who answered, as in the record's `source`. It is "skipped" if the subtask was not run for this input,
            and None if nobody says.
        error: Why there is no result, or only the small model's (``"TimeoutError: …"``), else None.
        doubtful: Whether the confidence does not reach the subtask's own threshold.
        passages: The parts of the input that the result rests on, if whoever answered knows them.
        usage: Tokens of all chat model calls that the subtask made for this input. None if it made none, or if one call
            did not report its own.
        calls: Number of these calls.
        seconds: Duration, as an equal share of the time of the subtask's batch. Two results that differ only in this
            are equal.

    Example:
        >>> str(SubtaskResult(value="sport", confidence=0.97))
        'sport (97 %)'
    """

    value: Any = None
    confidence: Confidence = None
    source: str | None = None
    error: str | None = None
    doubtful: bool = False
    passages: tuple[Passage, ...] = ()
    usage: UsageMetadata | None = None
    calls: int = Field(default=0, ge=0)
    seconds: float | None = Field(default=None, ge=0)

    @property
    def is_open(self) -> bool:
        """Whether the question is left to the step that combines the results.

        That is so without a value, with a doubtful one, or with a stand-in.
        """
        return self.value is None or self.doubtful or self.source == "fallback"

    @property
    def shown(self) -> Any:
        """The text for a template. It is the value, "unknown" without one, and empty if the subtask was skipped."""
        if self.value is not None:
            return self.value
        return "" if self.source == SKIPPED else "unknown"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubtaskResult) and self._said() == other._said()

    @override
    def __hash__(self) -> int:
        return hash((self.source, self.confidence, self.error, self.calls))  # a value may be a list

    def _said(self) -> dict[str, Any]:
        return {name: value for name, value in self if name != "seconds"}

    @override
    def __str__(self) -> str:
        if self.value is None:
            return "unknown" if self.error is None else f"unknown ({self.error})"
        return f"{self.value}" if self.confidence is None else f"{self.value} ({percent(self.confidence)})"


class SubtaskResults(AddableDict):
    """The results of subtasks by name.

    As text they tell the large model what is known, from whom, and what is still open. A skipped subtask has no line. A
    value of several lines is indented, so that no found text can pass for a result.

    Example:
        >>> found = {"topic": SubtaskResult(value="sport", confidence=0.97, source="small"), "team": SubtaskResult()}
        >>> print(SubtaskResults(found))
        Known from specialised models:
        topic = sport (97 % sure)
        Still open:
        team = unknown
    """

    @override
    def __add__(self, other: Any) -> SubtaskResults:
        return SubtaskResults(super().__add__(other))

    @override
    def __str__(self) -> str:
        known: list[str] = []
        large: list[str] = []
        still_open: list[str] = []
        for name, value in self.items():
            result = value if isinstance(value, SubtaskResult) else SubtaskResult(value=value)
            if result.source != SKIPPED:
                group = still_open if result.is_open else large if result.source in ASKED_LARGE else known
                group.append(_told(name, result))
        groups = {
            "Known from specialised models:": known,
            "Known from the large model:": large,
            "Still open:": still_open,
        }
        return "\n".join("\n".join([title, *lines]) for title, lines in groups.items() if lines)


def _told(name: str, result: SubtaskResult) -> str:
    """One result in a prompt.

    A value of several lines stands below its name and is indented, so that no line can pass for a title.
    """
    if result.value is None:
        reason = "" if result.error is None else f" ({shorten(' '.join(result.error.splitlines()), 80)})"
        return f"{name} = unknown{reason}"
    sure = "" if result.confidence is None else f" ({percent(result.confidence)} sure)"
    value = str(result.value)
    if "".join(value.splitlines()) == value:
        return f"{name} = {value}{sure}"
    return f"{name}{sure}:\n{indent(value, '    ')}"
