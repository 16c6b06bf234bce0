"""`Subtask`: one declared step of a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dsplus_chains.schema import ASKED_LARGE, InvalidInputError, SubtaskResult

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""What a subtask may be called: a name that a prompt template can hold."""


class Subtask(BaseModel):
    """One declared step of a plan: a Runnable over the record, and the subtasks whose results it needs.

    Args:
        name: What its result is called in the record's `subtasks`; a Python identifier, as prompts need.
        run: Any Runnable (or function) over the record. A shunt of its own answers the easy cases without the large
            model; its `answer`, confidence and `source` become the result. A scorer's prediction or any other value
            will do as well.
        needs: The names of the subtasks that run before; their results are in the record that `run` gets.
        select: What of the record `run` gets: a key of the record, or a quick function of it. None: the record.
        when: A quick function of the record (with the results that are needed) that says whether there is anything to
            do. Where it says no, `run` is not called, and the result has no value and the source "skipped".
        optional: Whether an input survives a failure; its result then has no value, and the `error`.
        threshold: From what confidence on its result counts as known; below it, or without one, the combining prompt
            lists it as an open question. What the large model said is known all the same. None: any value is known.

    Example:
        >>> Subtask(name="length", run=len, select="input").view({"input": "broke at once", "id": 7})
        'broke at once'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=NAME)
    run: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    needs: tuple[str, ...] = ()
    select: str | Callable[[dict[str, Any]], Any] | None = None
    when: Callable[[dict[str, Any]], Any] | None = None
    optional: bool = False
    threshold: float | None = Field(default=None, ge=0, le=1)

    @property
    def step(self) -> Runnable[Any, Any]:
        """What is run, once a batch, over what `view` makes of each record."""
        return self.run

    def view(self, record: dict[str, Any]) -> Any:
        """What of a record the step gets to see.

        Raises:
            InvalidInputError: The record lacks the key that is selected.
        """
        if self.select is None:
            return record
        if callable(self.select):
            return self.select(record)
        if self.select not in record:
            msg = f"Got a record with the keys {sorted(record)} but expected {self.select!r}, which is selected"
            raise InvalidInputError(msg)
        return record[self.select]

    def judge(self, result: SubtaskResult) -> SubtaskResult:
        """The result, marked where it is less sure than this subtask asks for."""
        if self.threshold is None or result.value is None or result.source in ASKED_LARGE:
            return result
        sure = result.confidence is not None and result.confidence >= self.threshold
        return SubtaskResult(**{**dict(result), "doubtful": not sure})
