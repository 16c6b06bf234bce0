"""Count tokens and money of the large model. What is not known is None, never 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsplus_chains.running.prices import price


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of some calls.

    Args:
        input: Tokens of the prompts, cached ones included.
        output: Tokens of the answers, reasoning included.
    """

    input: int
    output: int

    @property
    def total(self) -> int:
        """Tokens of prompts and answers."""
        return self.input + self.output


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a chain spent on the large model, and what the large model alone would have.

    Args:
        tokens: Tokens of all calls.
        cost_usd: Cost of all calls, in US dollars.
        large_only_tokens: Tokens if every row had gone to the large model.
        large_only_cost_usd: Cost if every row had gone there, in US dollars.
        large_only_estimated: Whether these two extrapolate the mean of the rows that did go there.
        break_even_escalation_rate: Above this rate the chain costs more than the large model alone.
        notes: What is not known, and why.
    """

    tokens: Tokens | None
    cost_usd: float | None
    large_only_tokens: int | None
    large_only_cost_usd: float | None
    large_only_estimated: bool
    break_even_escalation_rate: float | None
    notes: tuple[str, ...]


def spending(
    calls: Sequence[Mapping[str, Any] | None],
    *,
    n: int,
    large_usage: Sequence[Mapping[str, Any] | None] | None = None,
    model_name: str | None = None,
) -> Spending:
    """Add up what a chain spent, and compare it with the large model alone.

    Args:
        calls: LangChain's `UsageMetadata` of each row that went to the large model. None where it is not known.
        n: Number of all rows.
        large_usage: The same for the large model alone, for every row. If it is left out, it is extrapolated from
            `calls`.
        model_name: Name of the large model, for its price.

    Example:
        >>> spent = spending([{"input_tokens": 90, "output_tokens": 10}], n=4)
        >>> spent.tokens.total, spent.large_only_tokens, spent.cost_usd
        (100, 400, None)
    """
    tokens, cost = count_tokens(calls), price(calls, model_name)
    if large_usage is not None:
        alone, alone_cost = count_tokens(large_usage), price(large_usage, model_name)
        alone_tokens, alone_usd = None if alone is None else alone.total, alone_cost.usd
    else:
        share = n / len(calls) if calls else None
        alone_tokens = None if tokens is None or share is None else round(tokens.total * share)
        alone_usd = None if cost.usd is None or share is None else cost.usd * share
    notes = [] if cost.note is None else [cost.note]
    if tokens is None:
        notes.append("tokens unknown: the usage of some calls is not known")
    break_even = None
    if large_usage is not None:
        break_even = _break_even(len(calls), n, cost.usd, alone_usd)
        if break_even is None:
            break_even = _break_even(len(calls), n, None if tokens is None else tokens.total, alone_tokens)
    return Spending(
        tokens=tokens,
        cost_usd=cost.usd,
        large_only_tokens=alone_tokens,
        large_only_cost_usd=alone_usd,
        large_only_estimated=large_usage is None,
        break_even_escalation_rate=break_even,
        notes=tuple(notes),
    )


def count_tokens(usages: Iterable[Mapping[str, Any] | None]) -> Tokens | None:
    """Add up LangChain's `UsageMetadata`. None if the usage of any call is not known.

    Example:
        >>> count_tokens([{"input_tokens": 90, "output_tokens": 2}, {"input_tokens": 50, "output_tokens": 1}]).total
        143
        >>> count_tokens([{"input_tokens": 90, "output_tokens": 2}, None]) is None
        True
    """
    known = list(usages)
    if any(usage is None for usage in known):
        return None
    return Tokens(
        input=sum(int(usage["input_tokens"]) for usage in known if usage is not None),
        output=sum(int(usage["output_tokens"]) for usage in known if usage is not None),
    )


def _break_even(calls: int, n: int, spent: float | None, alone: float | None) -> float | None:
    """Cost of an input with the large model alone, divided by the cost of a deferred input in the chain."""
    if not calls or not spent or alone is None:
        return None
    return alone * calls / (n * spent)
