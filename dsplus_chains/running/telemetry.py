"""Decisions in OpenTelemetry: attributes of the current span, and two counters. There are no spans of our own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from langchain_core.messages.ai import UsageMetadata

from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.usage import UsageCollector

_lock = ForkLock()


class RowUsage(UsageCollector):
    """Counts what a gate's large arm costs for one row. Gates inside of that arm know by it that they are inside."""


class _Counters(NamedTuple):
    """The instruments of one meter."""

    decisions: Any
    tokens: Any


def is_traced() -> bool:
    """Whether this process uses OpenTelemetry. Who has not imported its API can have neither a span nor a meter."""
    return "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules


def trace_decisions(decisions: Sequence[Mapping[str, Any]]) -> None:
    """Set the decisions of one call as attributes of the current span, if it is recorded.

    A call for one input sets `dsplus.source`, `dsplus.confidence`, `dsplus.threshold` and `dsplus.label`. What is not
    known is left out. A batch sets `dsplus.source` and `dsplus.confidence` as lists in the order of its inputs. A
    confidence that is not known is NaN there.

    Args:
        decisions: The data of the event "dsplus_decision", for each input that was answered.
    """
    from opentelemetry.trace import get_current_span

    span = get_current_span()
    if not decisions or not span.is_recording():
        return
    if len(decisions) == 1:
        told = {name: decisions[0].get(name) for name in ("source", "confidence", "threshold", "label")}
        known: dict[str, Any] = {name: value for name, value in told.items() if isinstance(value, (str, int, float))}
    else:
        sure = [decision["confidence"] for decision in decisions]
        known = {
            "source": [decision["source"] for decision in decisions],
            "confidence": [math.nan if confidence is None else confidence for confidence in sure],
        }
    span.set_attributes({f"dsplus.{name}": value for name, value in known.items()})


def count_decisions(sources: Sequence[str], usages: Iterable[UsageMetadata | None]) -> None:
    """Add to the counters `dsplus.decisions` (by `dsplus.source`) and `dsplus.tokens` (by `gen_ai.token.type`).

    Args:
        sources: Who answered each input.
        usages: The large model's tokens for each input that it was asked about. None if they are not known.
    """
    with _lock:  # a meter complains about a second instrument of the same name
        counters = _counters()
    for source in dict.fromkeys(sources):
        counters.decisions.add(sources.count(source), {"dsplus.source": source})
    known = [usage for usage in usages if usage]
    for kind, tokens in [
        ("input", sum(usage["input_tokens"] for usage in known)),
        ("output", sum(usage["output_tokens"] for usage in known)),
    ]:
        if tokens:
            counters.tokens.add(tokens, {"gen_ai.token.type": kind})


def is_nested(handlers: Iterable[Any]) -> bool:
    """Whether a row belongs to the large arm of another gate, which counts it.

    Args:
        handlers: The callback handlers of the row's run.
    """
    return any(isinstance(handler, RowUsage) for handler in handlers)


@cache
def _counters() -> _Counters:
    """The two counters. A meter provider that is set later gets what is counted from then on."""
    from opentelemetry.metrics import get_meter

    meter = get_meter("dsplus_chains")
    return _Counters(
        meter.create_counter("dsplus.decisions", unit="{decision}", description="Inputs answered, by who answered"),
        meter.create_counter("dsplus.tokens", unit="{token}", description="Tokens of the large model"),
    )
