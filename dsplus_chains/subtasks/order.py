"""The order in which the steps of a plan can run. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from dsplus_chains.subtasks.subtask import Subtask


class Step(Protocol):
    """What the order of a plan needs to know of a step."""

    @property
    def name(self) -> str:
        """The name of the step."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the steps that come before."""


def sorted_plan(subtasks: Sequence[Step]) -> TopologicalSorter[str]:
    """A sorter that gives the names of the subtasks in the order of their needs.

    Raises:
        ValueError: A name is given twice, a need is no subtask, or the needs form a circle.
    """
    by_name = {subtask.name: subtask for subtask in subtasks}
    if len(by_name) < len(subtasks):
        msg = f"Got subtasks named {[subtask.name for subtask in subtasks]} but expected each name once"
        raise ValueError(msg)
    for subtask in subtasks:
        if unknown := [need for need in subtask.needs if need not in by_name]:
            msg = f"Got subtask {subtask.name!r} that needs {unknown} but expected some of {sorted(by_name)}"
            raise ValueError(msg)
    sorter = TopologicalSorter({subtask.name: subtask.needs for subtask in subtasks})
    try:
        sorter.prepare()
    except CycleError as error:
        msg = f"Got subtasks that need each other in a circle: {' -> '.join(reversed(error.args[1]))}"
        raise ValueError(msg) from error
    return sorter


def levels(subtasks: Sequence[Subtask]) -> list[list[Subtask]]:
    """The subtasks in an order in which they can run. Those of one level need only earlier levels.

    Raises:
        ValueError: A name is given twice, a need is no subtask, or the needs form a circle.

    Example:
        >>> def plan(**needs):
        ...     return [Subtask(name=name, run=str, needs=need) for name, need in needs.items()]
        >>> [[subtask.name for subtask in level] for level in levels(plan(topic=(), tone=(), reply=("topic", "tone")))]
        [['topic', 'tone'], ['reply']]
        >>> levels(plan(a=("b",), b=("a",)))
        Traceback (most recent call last):
        ...
        ValueError: Got subtasks that need each other in a circle: a -> b -> a
    """
    sorter = sorted_plan(subtasks)
    ordered: list[list[Subtask]] = []
    while sorter.is_active():
        ready = set(sorter.get_ready())
        ordered.append([subtask for subtask in subtasks if subtask.name in ready])  # in the order of declaration
        sorter.done(*ready)
    return ordered
