"""`MapSubtask`: a subtask that reads a long input part by part."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.runnables import Runnable
from pydantic import Field, model_validator
from typing_extensions import override

from dsplus_chains.documents.keep import Keep
from dsplus_chains.documents.parts import MapParts
from dsplus_chains.documents.passages import MOST_PARTS, Split
from dsplus_chains.documents.reduce import numbered, numbered_values, verbatim
from dsplus_chains.running.arm import OverRecord
from dsplus_chains.subtasks.subtask import Subtask

__all__ = ["MapSubtask", "numbered", "numbered_values", "verbatim"]


class MapSubtask(Subtask):
    """A subtask that reads a long input part by part. It is `MapParts` with a name.

    Args:
        name: Name of its result in the record's `subtasks`.
        split: Where to cut: "sentences", "paragraphs", a text splitter, or a function from a text to its pieces.
        run: The step. Any Runnable or function over a part's record. See `MapParts`.
        keep: The rule that decides which parts are kept.
        reduce: What makes one value out of the kept parts. By default one text, with each part after its number.
        max_parts: Most parts of an input. An input with more fails.
        needs: The names of the subtasks that run before.
        select: What is cut: a key of the record, or a quick function of it. None: its `input`. If the selection is a
            text, the step still sees the rest of the record.
        when: A quick function of the record that says whether there is anything to do.
        optional: Whether an input goes on if one of its parts fails.
        threshold: Lowest confidence at which the result counts as known.

    Raises:
        pydantic.ValidationError: `keep` names a label that the step does not know.

    Example:
        >>> from dsplus_chains.schema import Prediction
        >>> from dsplus_chains.subtasks.decomposer import SubtaskDecomposer
        >>> def relevant(record):
        ...     return Prediction(label="battery" in record["input"].lower(), confidence=0.9)
        >>> facts = MapSubtask(name="facts", split="sentences", run=relevant, keep=Keep(drop={False}, threshold=0.8))
        >>> chain = SubtaskDecomposer(subtasks=[facts], combine="{facts}")
        >>> print(chain.invoke("The battery died. I like it. No battery!")["answer"])
        [1] The battery died.
        [3] No battery!
    """

    run: OverRecord
    split: Split = "paragraphs"
    keep: Keep = Keep()
    reduce: OverRecord = Field(default=numbered, validate_default=True)
    max_parts: int = Field(default=MOST_PARTS, ge=1)

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        _ = self._parts  # checks them
        return self

    @property
    def _parts(self) -> MapParts:
        return MapParts(split=self.split, run=self.run, keep=self.keep, reduce=self.reduce, max_parts=self.max_parts)

    @override
    def view(self, record: dict[str, Any]) -> Any:
        seen = super().view(record)
        return {**record, "input": seen} if isinstance(seen, str) else seen

    @property
    @override
    def step(self) -> Runnable[Any, Any]:
        return self._parts
