"""`Subtask` and the order in which subtasks can run."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Subtask(BaseModel):
    """One declared step of a plan: a Runnable over the record, and the subtasks whose results it needs.

    Args:
        name: What its result is called in the record's `subtasks`; a Python identifier, as prompts need.
        run: Any Runnable (or function) over the record. A shunt of its own answers the easy cases without the large
            model; its `answer`, confidence and `source` become the result. A scorer's prediction or any other value
            will do as well.
        needs: The names of the subtasks that run before; their results are in the record that `run` gets.

    Example:
        >>> Subtask(name="length", run=lambda record: len(record["input"])).name
        'length'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    run: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    needs: tuple[str, ...] = ()


def levels(subtasks: Sequence[Subtask]) -> list[list[Subtask]]:
    """The subtasks in the order in which they can run: those of one level need only earlier levels.

    Raises:
        ValueError: No subtask, a name twice, a need that is no subtask, or needs that go round in a circle.

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
    by_name = {subtask.name: subtask for subtask in subtasks}
    if not subtasks or len(by_name) < len(subtasks):
        msg = f"Got subtasks named {[subtask.name for subtask in subtasks]} but expected at least one, each name once"
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
    ordered: list[list[Subtask]] = []
    while sorter.is_active():
        ready = set(sorter.get_ready())
        ordered.append([subtask for subtask in subtasks if subtask.name in ready])  # in the order of declaration
        sorter.done(*ready)
    return ordered
