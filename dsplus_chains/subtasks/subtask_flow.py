"""The subtasks of a plan as a flow. Each one starts as soon as all that it needs is done."""

from __future__ import annotations

from dsplus_chains.running.flow import Ask, Begin, Chunk, Completed, StreamFlow, Tell
from dsplus_chains.subtasks.plan_run import PlanRun

SUBTASK_EVENT = "dsplus_subtask"
"""The name of the custom event that goes out for each input and each finished subtask."""


def subtask_flow(plan: PlanRun, *, piecemeal: bool) -> StreamFlow:
    """Run the subtasks.

    Args:
        plan: The run. Its records get the results.
        piecemeal: Whether to yield each result as it comes. Only for a run of one row.
    """
    while plan.is_active:
        for job in plan.start():
            yield Begin(job, Ask(job.subtask.step, job.inputs, job.configs))
        for job, outcome in (yield Completed()):
            plan.take(job, outcome)
            for manager, event in plan.told(job.subtask):
                yield Tell(manager, SUBTASK_EVENT, event)
            if piecemeal:
                yield Chunk(plan.found(job.subtask))
