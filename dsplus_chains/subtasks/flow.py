"""Runs the subtasks of a plan as a flow: each starts as soon as all that it needs is done, not level by level."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config

from dsplus_chains._batching import Outcome, arun_batch, run_batch
from dsplus_chains.subtasks.plan import Subtask
from dsplus_chains.subtasks.running import Job, PlanRun

SUBTASK_EVENT = "dsplus_subtask"
"""The name of the custom event that goes out for each input and each finished subtask."""


def finished(plan: PlanRun, config: RunnableConfig) -> Iterator[Subtask]:
    """Run the subtasks in threads, which know the caller's context variables; yield each one as it is done."""
    running: dict[Future[Outcome], Job] = {}
    with get_executor_for_config(config) as executor:
        while plan.is_active:
            for job in plan.start():
                running[executor.submit(run_batch, job.subtask.step, job.inputs, job.configs)] = job
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in [future for future in running if future in done]:
                job = running.pop(future)
                plan.take(job, future.result())
                for manager, event in plan.told(job.subtask):
                    manager.get_child().on_custom_event(SUBTASK_EVENT, event, run_id=manager.run_id)
                yield job.subtask


async def afinished(plan: PlanRun) -> AsyncGenerator[Subtask, None]:
    """The same as tasks of the running loop; what still runs when nobody waits for it any more is cancelled."""
    running: dict[asyncio.Task[Outcome], Job] = {}
    try:
        while plan.is_active:
            for job in plan.start():
                running[asyncio.create_task(arun_batch(job.subtask.step, job.inputs, job.configs))] = job
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task in done]:
                job = running.pop(task)
                plan.take(job, task.result())
                for manager, event in plan.told(job.subtask):
                    await manager.get_child().on_custom_event(SUBTASK_EVENT, event, run_id=manager.run_id)
                yield job.subtask
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
