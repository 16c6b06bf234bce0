"""`Skill`: an ability that a planner may use. The large model knows only its name and description."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Self

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dsplus_chains.running.arm import over_record
from dsplus_chains.subtasks.subtask import NAME, Subtask

LONGEST_NAME = 40


class Skill(BaseModel):
    """A registered ability. A plan says which skills run, in which order, and what each is asked.

    Args:
        name: Its name in plans. It must be a Python identifier.
        description: What it finds out, and when to use it. Beside the name, the planning model
            knows nothing else.
        run: Any Runnable or function over the record, as in a `Subtask`. In the record, `question` is what the plan
            asks of this step. If the plan does not say, it is the request itself. `subtasks` holds the results of the
            steps that this one needs.
        select: What `run` gets: a key of the record, or a quick function of it. None: the whole record.
        optional: Whether an input goes on after a failure of the skill.

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

    @model_validator(mode="after")
    def _takes_what_it_gets(self) -> Self:
        if self.select is None:
            over_record(self.run)
        return self

    def subtask(
        self, name: str, *, needs: tuple[str, ...] = (), question: Callable[[dict[str, Any]], str] | None = None
    ) -> Subtask:
        """The skill as one step of a plan.

        Args:
            name: Name of the step's result.
            needs: The steps whose results it needs.
            question: What the step is asked, as a function of the record. None: nothing in particular.
        """
        plain = Subtask(name=name, run=self.run, needs=needs, select=self.select, optional=self.optional)
        if question is None:
            return plain
        return Subtask(**{**dict(plain), "select": partial(_asked, step=plain, question=question)})


def _asked(record: dict[str, Any], *, step: Subtask, question: Callable[[dict[str, Any]], str]) -> Any:
    """What a step gets of a record, with its question added."""
    return step.view({**record, "question": question(record)})
