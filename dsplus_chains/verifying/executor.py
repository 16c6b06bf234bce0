"""`Executor` runs code that nobody has read, and tells what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from dsplus_chains.schema import WiringError


class ExecutorError(WiringError):
    """A sandbox does not start here. Code is then not run at all.

    It is raised, whatever a scorer does with other errors: rows that are all deferred would hide it.
    """


@dataclass(frozen=True, kw_only=True)
class Job:
    """Code to run in one sandbox, piece after piece, in one name space.

    Args:
        setup: Statements that come first. If one raises, no step is run.
        steps: Expressions or statements. A step that raises does not stop the later ones.
        values: Plain values by name, bound before the setup.
    """

    setup: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one step.

    Args:
        status: "value" if it ran, and "raised" if it raised. "limit" means that it took too much time, memory or
            output, or ended the sandbox. "unsupported" means that the sandbox cannot run it or cannot pass on its
            value, which says nothing of the code.
        value: The plain value of an expression, else None.
        detail: What went wrong.
    """

    status: Literal["value", "raised", "limit", "unsupported"]
    value: Any = None
    detail: str = ""


@runtime_checkable
class Executor(Protocol):
    """Runs jobs, each in a sandbox of its own.

    What leaves a sandbox are plain values: numbers, texts, bytes, booleans, None, and lists, tuples, sets and dicts of
    these. A job must reach no file, network, process or environment of the host. A file that Python needs may be read.
    Which facts about other files and processes a job can still ask for is told by each executor.
    """

    def run(self, jobs: Sequence[Job]) -> list[tuple[Outcome, ...]]:
        """Run jobs. The result has one outcome for each step of each job.

        Raises:
            ExecutorError: No sandbox starts. Nothing was run.
        """
        ...


def all_steps(job: Job, outcome: Outcome, done: Sequence[Outcome] = ()) -> tuple[Outcome, ...]:
    """The outcomes of a job that ended early.

    Args:
        job: The job.
        outcome: Outcome of each step that was not reached.
        done: Outcomes of the steps before.
    """
    return (*done, *[outcome] * (len(job.steps) - len(done)))
