"""`Subtask`: one declared step of a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BeforeValidator, Field, model_validator

from dsplus_chains.running.arm import over_record
from dsplus_chains.schema import ASKED_LARGE, InvalidInputError, SubtaskResult, Value

NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""Pattern of a subtask's name, which a prompt template must be able to hold."""


class Subtask(Value):
    """One declared step of a plan: a Runnable over the record, and the subtasks whose results it needs.

    Args:
        name: Name of its result in the record's `subtasks`. It must be a Python identifier, as prompts need.
        run: Any Runnable or function over the record. A shunt answers the easy cases without the large model. Its
            `answer`, confidence and `source` become the result. A scorer's prediction or any other value is fine too.
        needs: The names of the subtasks that run before. Their results are in the record that `run` gets.
        select: What `run` gets: a key of the record, or a quick function of it. None: the whole record.
        when: A quick function of the record that says whether there is anything to do. The record holds the results
            that are needed. If it says no, `run` is not called. The result then has no value and the source "skipped".
        optional: Whether an input goes on after a failure. The result then has an `error` and no value.
        threshold: Lowest confidence at which the result counts as known. Below it, or without a confidence, the
            combining prompt lists the result as an open question. What the large model said always counts as known.
            None: any value is known.

    Raises:
        pydantic.ValidationError: `run` is a bare model and would get the whole record, or a keyword is unknown.

    Example:
        >>> Subtask(name="length", run=len, select="input").view({"input": "broke at once", "id": 7})
        'broke at once'
    """

    name: str = Field(pattern=NAME)
    run: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    needs: tuple[str, ...] = ()
    select: str | Callable[[dict[str, Any]], Any] | None = None
    when: Callable[[dict[str, Any]], Any] | None = None
    optional: bool = False
    threshold: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _takes_what_it_gets(self) -> Self:
        if self.select is None:
            over_record(self.run)
        return self

    @property
    def step(self) -> Runnable[Any, Any]:
        """The Runnable that runs once a batch, over what `view` takes from each record."""
        return self.run

    def view(self, record: dict[str, Any]) -> Any:
        """The part of a record that the step gets.

        Raises:
            InvalidInputError: The record lacks the selected key.
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
        """The result, marked as doubtful if it is less sure than this subtask asks for."""
        if self.threshold is None or result.value is None or result.source in ASKED_LARGE:
            return result
        sure = result.confidence is not None and result.confidence >= self.threshold
        return SubtaskResult(**{**dict(result), "doubtful": not sure})
