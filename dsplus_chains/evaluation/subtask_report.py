"""What each subtask of a chain cost, and how often it needed the large model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsplus_chains.evaluation.costs import count_tokens
from dsplus_chains.schema import DEFERRED, SKIPPED, SubtaskResult


@dataclass(frozen=True, kw_only=True)
class SubtaskReport:
    """How one subtask did. What is not known is None, never 0.

    Args:
        name: Name of the subtask.
        n: Number of records with a result of it.
        calls: Number of calls of chat models, failed ones included.
        tokens: Tokens of all these calls. None if one of them did not tell.
        seconds: Seconds of all its batches.
        escalation_rate: Share of the inputs it was run for in which the large model was asked.
        skipped_rate: Share of the records for which it was not run.
        failed_rate: Share of the inputs it was run for that it has no value for.
    """

    name: str
    n: int
    calls: int
    tokens: int | None
    seconds: float | None
    escalation_rate: float | None
    skipped_rate: float
    failed_rate: float | None


def report_subtasks(records: Sequence[Mapping[str, Any]]) -> tuple[SubtaskReport, ...]:
    """How each subtask did over all records, in the order of first appearance. Empty without subtasks.

    Args:
        records: What a decomposer, a planner or any chain around them returned. They need no `prediction`.

    Example:
        >>> easy = SubtaskResult(value="sport", source="small", seconds=0.5)
        >>> hard = SubtaskResult(value="chess", source="large", calls=1, seconds=0.25)
        >>> (topic,) = report_subtasks([{"subtasks": {"topic": easy}}, {"subtasks": {"topic": hard}}])
        >>> topic.calls, topic.tokens, topic.seconds, topic.escalation_rate
        (1, None, 0.75, 0.5)
    """
    found: dict[str, list[SubtaskResult]] = {}
    for record in records:
        for name, result in (record.get("subtasks") or {}).items():
            if isinstance(result, SubtaskResult):
                found.setdefault(name, []).append(result)
    return tuple(_report(name, results) for name, results in found.items())


def _report(name: str, results: Sequence[SubtaskResult]) -> SubtaskReport:
    run = [result for result in results if result.source != SKIPPED]
    tokens = count_tokens(result.usage for result in run if result.calls)
    seconds = [result.seconds for result in run if result.seconds is not None]
    return SubtaskReport(
        name=name,
        n=len(results),
        calls=sum(result.calls for result in run),
        tokens=None if tokens is None else tokens.total,
        seconds=sum(seconds) if len(seconds) == len(run) else None,
        escalation_rate=_share([_was_asked(result) for result in run]),
        skipped_rate=1 - len(run) / len(results),
        failed_rate=_share([result.value is None for result in run]),
    )


def _was_asked(result: SubtaskResult) -> bool:
    """Whether the large model answered, or failed and left a stand-in or nothing."""
    return result.source in DEFERRED or (result.value is None and result.calls > 0)


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
