"""What the journal of a run holds: whose run it is, the rows that are answered, and how many of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

_CALLED = {"input": "input, delimiter or encoding", "text": "column of texts", "large": "large model"}


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What a run is of. Rows that another run has answered are not taken for its own.

    Args:
        bundle: SHA-256 of the bundle's manifest.
        input: SHA-256 of the input file.
        text: The column with the texts.
        large: The large model.
        server: The address of its server; empty where it is the provider's own.
    """

    bundle: str
    input: str
    text: str
    large: str
    server: str = ""


def told_apart(names: Iterable[str]) -> str:
    """What tells one run from another, for people.

    Args:
        names: The fields of `RunIdentity` in which they differ.

    Example:
        >>> told_apart(["large", "server"])
        'another large model and another server'
    """
    return " and ".join(f"another {_CALLED.get(name, name)}" for name in names)


@dataclass(frozen=True, kw_only=True)
class AnsweredRow:
    """One row of the output.

    Args:
        row: Index of the row in the input.
        answer: The label; None if neither model has answered.
        source: Who gave it; "error" if neither model did.
        confidence: The small model's confidence.
        error: Why the large model did not answer. None if it did, or was not asked.
    """

    row: int
    answer: Any
    source: str
    confidence: float | None
    error: str | None

    def packed(self) -> tuple[Any, ...]:
        """As a database keeps it."""
        return self.row, json.dumps(self.answer), self.source, self.confidence, writable(self.error)

    @classmethod
    def unpacked(cls, found: Sequence[Any]) -> Self:
        """As `packed` gave it."""
        row, answer, source, confidence, error = found
        return cls(row=row, answer=json.loads(answer), source=source, confidence=confidence, error=error)


def writable(text: str | None) -> str | None:
    """The text with a question mark for each half of a character, which no file can hold."""
    return None if text is None else text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How the rows so far were answered.

    Args:
        kept: Rows that the small model was sure of.
        deferred: The other rows.
        fallback: Those of the deferred rows that the large model failed at.
        tokens: Tokens of all replies of the large model.
    """

    kept: int = 0
    deferred: int = 0
    fallback: int = 0
    tokens: int = 0

    @property
    def fallback_rate(self) -> float:
        """Share of the deferred rows that the large model failed at; 0 without any."""
        return self.fallback / self.deferred if self.deferred else 0.0

    def __str__(self) -> str:
        asked = f"{self.deferred:,} deferred ({self.fallback:,} of them fallback)"
        unknown = not self.tokens and self.deferred > self.fallback  # no reply takes no tokens
        return f"{self.kept:,} kept, {asked}, {'tokens unknown' if unknown else f'{self.tokens:,} tokens'}"
