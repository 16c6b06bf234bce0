"""`HintCell` is one way to ask the large model, with what it was worth and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.schema import brief_repr
from dsplus_chains.tuning.tuned import Estimate

Way: TypeAlias = tuple[HintMode, int, int]
"""Hint mode, number of exemplars, most rows in one prompt."""


@brief_repr
@dataclass(frozen=True, kw_only=True)
class HintCell:
    """One way to ask the large model and to weigh its answer. It is measured on rows that could be deferred.

    Args:
        hints: What the large model was told of the small one's view.
        exemplars: How many solved examples it was shown.
        group: Most rows in one prompt.
        fusion: Whose word was the last. With "posterior", each row is judged by weights that had not seen it.
        set_level: The level that "hard" pruned labels by. None where they were not pruned by one.
        accuracy: Accuracy of the chain on these rows, all of them deferred. Where the large model failed, the small
            one's answer counts.
        large_accuracy: Accuracy of what the large model itself said. A failure counts as wrong.
        tokens: Tokens of all these calls, answers from a cache included. None if the model does not tell.
        tokens_a_row: Mean tokens of the rows that told.
        usd_per_1000: US dollars of 1,000 such rows, by single requests. None if the price is not known.
        characters: Characters of all these prompts.
        failed: Number of rows without an answer of the large model.
        silent: Number of rows that it gave no reply to. The others of these rows have a reply that is no label.
        error: Why the first of these rows has none.
        fixed: Number of rows where the chain is right and the small model alone is wrong.
        broke: Number of rows where the chain is wrong and the small model alone is right.
        right: Whether the chain is right, a flag a row.
        answers: What the large model answered, one a row. None where it failed.
        confidences: How sure it was, where its provider tells.
    """

    hints: HintMode
    exemplars: int
    group: int
    fusion: Literal["replace", "posterior"]
    set_level: float | None
    accuracy: Estimate
    large_accuracy: Estimate
    tokens: int | None
    tokens_a_row: float | None
    usd_per_1000: float | None
    characters: int
    failed: int
    silent: int
    error: str | None
    fixed: int
    broke: int
    right: tuple[bool, ...]
    answers: tuple[Any, ...]
    confidences: tuple[float | None, ...]

    @property
    def way(self) -> Way:
        """How the large model was asked, whoever had the last word."""
        return self.hints, self.exemplars, self.group

    @property
    def name(self) -> str:
        """The setting in words."""
        return f"{setting_name(*self.way)}, {self.fusion}"

    @property
    def cost(self) -> str:
        """What it costs, for people. Nothing if the model does not tell its tokens."""
        if self.tokens_a_row is None:
            return ""
        usd = "" if self.usd_per_1000 is None else f" and {self.usd_per_1000:.4g} US dollars"
        return f"{1000 * self.tokens_a_row:,.0f} tokens{usd} per 1,000 rows"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the columns that have a value a row."""
        plain = asdict(self)
        return {name: value for name, value in plain.items() if name not in {"right", "answers", "confidences"}}

    def line(self, *, taken: bool, grouped: bool, priced: bool) -> tuple[str, ...]:
        """Its line of the ablation table.

        Args:
            taken: Whether it is the way to take.
            grouped: Whether the table has a column of groups.
            priced: Whether the table has a column of prices.
        """
        usd = "?" if self.usd_per_1000 is None else f"{self.usd_per_1000:.4g}"
        return (
            f"→ {self.hints}" if taken else self.hints,
            str(self.exemplars),
            *([str(self.group)] if grouped else []),
            self.fusion,
            *with_interval(self.accuracy),
            str(self.large_accuracy),
            "?" if self.tokens is None else f"{self.tokens:,}",
            *([usd] if priced else []),
            str(self.fixed),
            str(self.broke),
        )


def costs_of(cells: Sequence[HintCell]) -> list[float]:
    """The cost of a row in each cell, in one unit: dollars if all tell them, else tokens, else characters."""
    for told in ([cell.usd_per_1000 for cell in cells], [cell.tokens_a_row for cell in cells]):
        known = [cost for cost in told if cost is not None]
        if len(known) == len(cells):
            return known
    return [float(cell.characters) for cell in cells]


def setting_name(hints: HintMode, exemplars: int, group: int = 1) -> str:
    """A way to ask, in words.

    Example:
        >>> setting_name("soft", 4), setting_name("none", 0, 10)
        ('soft hints, 4 exemplars', 'no hints, groups of 10')
    """
    told = "no hints" if hints == "none" else f"{hints} hints"
    shown = f", {exemplars} exemplar{'s' if exemplars > 1 else ''}" if exemplars else ""
    return f"{told}{shown}{f', groups of {group}' if group > 1 else ''}"


def with_interval(estimate: Estimate) -> tuple[str, str]:
    """A share and its interval, for two columns of a table."""
    return str(estimate), f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f} %"
