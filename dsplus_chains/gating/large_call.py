"""`LargeCall` is one row's call of the large arm. Of calls that ask the same, one may be made for all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from dsplus_chains.running.budgeted_row import BudgetedRow
from dsplus_chains.running.flow import Manager
from dsplus_chains.running.usage import UsageCollector
from dsplus_chains.schema import DSPlusError, identity_of


class LargeCall(NamedTuple):
    """One row's call of the large arm."""

    row: int
    record: dict[str, Any]
    arm_input: Any
    config: RunnableConfig
    collector: UsageCollector
    manager: Manager
    budgeted: BudgetedRow | None = None
    """The row under the gate's budget, if it has one."""

    @property
    def refused(self) -> DSPlusError | None:
        """Why the budget let no call of this row begin, if so."""
        return None if self.budgeted is None else self.budgeted.refused


def first_alike(calls: Sequence[LargeCall]) -> list[int]:
    """For each call, the place of the first one that asks the same, with the same configured settings."""
    firsts: dict[Hashable, int] = {}
    asked = [identity_of((call.arm_input, call.config.get("configurable"))) for call in calls]
    return [firsts.setdefault(question, place) for place, question in enumerate(asked)]


def handed_on(calls: Sequence[LargeCall], first: Sequence[int], heard: Sequence[Any]) -> list[Any]:
    """The output of each call, where only the first ones were made. The others have cost nothing.

    Args:
        calls: All calls.
        first: What `first_alike` says of them.
        heard: The outputs of the calls that were made, in their order.
    """
    outputs = dict(zip(sorted(set(first)), heard, strict=True))
    for place, call in zip(first, calls, strict=True):
        if calls[place] is not call:
            call.collector.repeat(calls[place].collector)
            if isinstance(outputs[place], Exception):  # whatever the arm has made of a refusal
                outputs[place] = calls[place].refused or outputs[place]
    return [outputs[place] for place in first]
