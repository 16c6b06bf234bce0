"""What calls of a model cost, by the price list of the library `genai-prices`. What is not known is None, never 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_DETAILS = {
    "cache_read": ("input_token_details", "cache_read_tokens"),
    "cache_creation": ("input_token_details", "cache_write_tokens"),
}


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of some calls.

    Args:
        usd: Price in US dollars. None where it cannot be known.
        note: Why the price is not known. None if it is.
    """

    usd: float | None
    note: str | None = None


def price(usages: Iterable[Mapping[str, Any] | None], model_name: str | None) -> Price:
    """What calls of a model cost, from the price list that ships with the library `genai-prices`.

    Each usage is priced on its own, because prices may depend on the length of a prompt. No request is made.

    Args:
        usages: LangChain's `UsageMetadata` of each input's calls. None where it is not known.
        model_name: Name as the provider gives it, also as ``"provider:name"`` or ``"provider/name"``.
    """
    calls = list(usages)
    if model_name is None:
        return Price(usd=None, note="cost unknown: no model name was given")
    if any(usage is None for usage in calls):
        return Price(usd=None, note="cost unknown: the token usage of some calls is not known")
    try:
        prices = import_module("genai_prices")
    except ImportError:
        return Price(usd=None, note="cost unknown: install genai-prices (install the extra `report`)")
    for provider, name in _readings(model_name):
        try:
            # This is asked even without calls, because the name of a model that was never called may be a misprint.
            prices.calc_price(prices.Usage(input_tokens=0, output_tokens=0), name, provider_id=provider)
            costs = [
                prices.calc_price(prices.Usage(**_counts(usage)), name, provider_id=provider).total_price
                for usage in calls
                if usage is not None
            ]
        except LookupError:
            continue
        return Price(usd=float(sum(costs)))
    return Price(usd=None, note=f"cost unknown: genai-prices has no price for the model {model_name!r}")


def _readings(model_name: str) -> list[tuple[str | None, str]]:
    """What the name may mean. It is a model, or a provider and its model."""
    readings: list[tuple[str | None, str]] = [(None, model_name)]
    for separator in (":", "/"):
        provider, found, name = model_name.partition(separator)
        if found:
            readings.append((provider, name))
    return readings


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: int(usage[name]) for name in ("input_tokens", "output_tokens")}
    for key, (group, name) in _DETAILS.items():
        value = (usage.get(group) or {}).get(key)
        if value:
            counts[name] = int(value)
    return counts
