"""What a budget has counted, by arm and by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsplus_chains.running.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What the rows of one source have cost.

    Args:
        rows: Number of rows.
        asked: How many of them asked a large model.
        tokens: Tokens of their calls.
        usd: Price of their calls, in US dollars. None if it is not known.
    """

    rows: int
    asked: int
    tokens: int
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """What the calls of one model have cost.

    Args:
        calls: Number of calls, without those that a cache answered.
        cached: Number of calls that LangChain's cache answered.
        guessed: For how many calls the provider has told no usage, so that the text was counted.
        input_tokens: Tokens of prompts.
        output_tokens: Tokens of answers.
        usd: Price in US dollars. None if it is not known.
    """

    calls: int
    cached: int
    guessed: int
    input_tokens: int
    output_tokens: int
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class BudgetReport:
    """What one run or one day has cost.

    Args:
        period: The run or the day.
        tokens: Tokens of all settled calls.
        usd: Their price in US dollars. None if it is not known.
        reserved_tokens: Tokens of calls that are not settled. A call that nobody waits for any more is one of them.
        by_arm: The rows by their source, such as "small", "large" and "fallback".
        by_model: The calls by model.
        saved_tokens: How many tokens more the large model alone would have cost, if each row cost as much as those that
            were asked. None if none was asked.
        saved_usd: The same in US dollars.
    """

    period: str
    tokens: int
    usd: float | None
    reserved_tokens: int
    by_arm: Mapping[str, ArmCost]
    by_model: Mapping[str, ModelCost]
    saved_tokens: int | None
    saved_usd: float | None


def budget_report(ledger: Ledger, period: str) -> BudgetReport:
    """The report of one period."""
    arms = {row["source"]: _arm(row) for row in ledger.table("arms", period)}
    models = {row["model"]: _model(row) for row in ledger.table("spent", period)}
    tokens = sum(model.input_tokens + model.output_tokens for model in models.values())
    prices = [model.usd for model in models.values()]
    usd = None if None in prices else sum(one for one in prices if one is not None)
    rows, asked = sum(arm.rows for arm in arms.values()), sum(arm.asked for arm in arms.values())
    more = (rows - asked) / asked if asked else None
    _, reserved = ledger.committed(period)
    return BudgetReport(
        period=period,
        tokens=tokens,
        usd=usd,
        reserved_tokens=reserved.tokens,
        by_arm=arms,
        by_model=models,
        saved_tokens=None if more is None else round(tokens * more),
        saved_usd=None if more is None or usd is None else usd * more,
    )


def _arm(row: Mapping[str, Any]) -> ArmCost:
    return ArmCost(rows=row["rows"], asked=row["asked"], tokens=row["tokens"], usd=row["usd"])


def _model(row: Mapping[str, Any]) -> ModelCost:
    return ModelCost(
        calls=row["calls"],
        cached=row["cached"],
        guessed=row["guessed"],
        input_tokens=row["input"],
        output_tokens=row["output"],
        usd=row["usd"],
    )
