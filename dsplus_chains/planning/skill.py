"""`Skill`: what a planner may use, told to the large model by name and description alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dsplus_chains.subtasks.subtask import NAME, Subtask

LONGEST_NAME = 40


class Skill(BaseModel):
    """A registered ability: a plan says which skills are run, in which order, and what each is asked.

    Args:
        name: What plans call it; a Python identifier.
        description: What it finds out, and when to use it: all that the planning model knows of it.
        run: Any Runnable (or function) over the record, as in a `Subtask`. Under `question` the record has what the
            plan asks of this step (the request itself, where the plan does not say), under `subtasks` the results
            of the steps that it needs.
        select: What of the record `run` gets: a key of the record, or a quick function of it. None: the record.
        optional: Whether an input survives its failure.

    Example:
        >>> skill = Skill(name="length", description="How many words the text has.", run=len, select="input")
        >>> skill.subtask("size").view({"input": "broke at once"})
        'broke at once'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    description: str = Field(min_length=1)
    run: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    select: str | Callable[[dict[str, Any]], Any] | None = None
    optional: bool = False

    def subtask(
        self, name: str, *, needs: tuple[str, ...] = (), question: Callable[[dict[str, Any]], str] | None = None
    ) -> Subtask:
        """The skill as one step of a plan.

        Args:
            name: What the step's result is called.
            needs: The steps whose results it needs.
            question: What the step is asked, as a function of the record; None: nothing in particular.
        """
        plain = Subtask(name=name, run=self.run, needs=needs, select=self.select, optional=self.optional)
        if question is None:
            return plain
        return Subtask(**{**dict(plain), "select": partial(_asked, step=plain, question=question)})


def _asked(record: dict[str, Any], *, step: Subtask, question: Callable[[dict[str, Any]], str]) -> Any:
    """What a step sees of a record, once it has its question."""
    return step.view({**record, "question": question(record)})
