"""`LabelTask` holds the large model's task, with the question and how its answer is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from langchain_core.runnables import Runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, field_validator, model_validator

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.prompting.alike import labels_alike
from dsplus_chains.prompting.asker import LabelAsker
from dsplus_chains.prompting.builder import HintPromptBuilder, as_track_record
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.group_asker import GroupAsker
from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.prompting.parser import LabelParser, NoneOfTheseError
from dsplus_chains.prompting.template import Template, template_as_data
from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    Labels,
    LabelWarning,
    as_pairs,
    brief_args,
    check_listed,
    from_pairs,
    hash_of,
)

INSTRUCTION = "Decide which of the labels fits the input best."
"""The default instruction for the large model."""


class LabelTask(BaseModel):
    """The question for the large model, and how its answer is read.

    Every setting of a task stands here. `data_shunt` also takes them as keywords, except for `rationale` and
    `examples`. For these, give it the task. `Bundle` holds a task, `tune_hints` searches over it. `arm` turns it into
    the large arm of a `ConfidenceBranch`.

    A prompt begins with what all inputs share, the instruction and the labels, so that a provider can cache it. Many
    cache only beginnings of 1,024 tokens and more, which few lists of labels reach.

    Args:
        labels: The labels to choose from.
        instruction: What to decide, in your words.
        descriptions: The meaning of each label, by label. Labels may be left out.
        aliases: Further written forms of labels that the large model may use.
        hints: What the large model is told of the small one's view: "soft", "hard" or "none".
        top_k: Largest number of labels in a hint.
        track_record: How often the small model was right at about this confidence. A soft hint shows it. "auto" takes
            the scorer's own. None shows nothing.
        set_level: Level of the label sets of ``hints="hard"``, from ``tune_threshold(..., set_coverage=0.95)``. It
            replaces `top_k`. Each prompt offers as many labels as it takes to hold the true one.
        strong_labels: Labels that ``hints="hard"`` leaves out, because the small model handles them by itself. See
            `strong_labels`. It cannot be combined with `set_level`.
        exemplars: Number of solved examples that are shown with each input. 0 shows none, even if there are some. It
            may also be a selector, which then gives both the number and the examples.
        examples: Selector of the solved examples.
        structured: Whether to ask for the label as structured output, if the large model has it. The output is held to
            what the prompt offers. A model with configurable fields is asked for text, which is told once.
        retries: 1 asks once more where the answer is no label, and says so. 0 takes the first answer as it is.
        reask: Whether ``hints="hard"`` asks again, over all labels, where the answer is "none of these". Without it the
            small model's answer stands in.
        rationale: Whether to ask for a reason of at most 15 words beside the label. It becomes `large.rationale`. An
            `ExperienceStore` keeps it, and ``learn(..., rationale_weight=...)`` can learn from it. It costs tokens,
            and perhaps accuracy. The large model's confidence is then not known.
        group: Most rows of a batch in one prompt; see `GroupAsker`. 1 asks about each row by itself. Groups cost less,
            but a model may answer less well in them, so `tune_hints` tries them only if asked to. Where a row has a
            time limit, a breaker or a budget, it is asked by itself.
        template: Prompt of your own; see `HintPromptBuilder`.

    Raises:
        pydantic.ValidationError: A value is out of bounds, two settings contradict each other, or a keyword is unknown.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> task = LabelTask(labels=["positive", "negative"], instruction="Which sentiment?", hints="none")
        >>> task.arm(FakeListChatModel(responses=["Negative."])).invoke({"input": "It broke."})
        'negative'
        >>> LabelTask.from_dict(task.to_dict()) == task
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    labels: Labels
    instruction: str = Field(default=INSTRUCTION, min_length=1)
    descriptions: Annotated[dict[Label, str] | None, BeforeValidator(from_pairs)] = None
    aliases: Annotated[dict[str, Label] | None, BeforeValidator(from_pairs)] = None
    hints: HintMode = "soft"
    top_k: int = Field(default=5, ge=1)
    track_record: Annotated[InstanceOf[TrackRecord] | Literal["auto"] | None, BeforeValidator(as_track_record)] = "auto"
    set_level: float | None = Field(default=None, gt=0, le=1)
    strong_labels: tuple[Label, ...] | None = None
    exemplars: int = Field(default=0, ge=0)
    examples: InstanceOf[ExemplarSelector] | None = None
    structured: bool = False
    retries: Literal[0, 1] = 1
    reask: bool = False
    rationale: bool = False
    group: int = Field(default=1, ge=1)
    template: Template = None

    def __repr_args__(self) -> Any:
        """The fields, briefly."""
        return brief_args(super().__repr_args__())

    @model_validator(mode="before")
    @classmethod
    def _selector_says_both(cls, data: Any) -> Any:
        given = data.get("exemplars", 0) if isinstance(data, Mapping) else 0
        if isinstance(given, ExemplarSelector):
            return {**data, "exemplars": given.k, "examples": given}
        return {**data, "exemplars": 0} if given is None else data

    @field_validator("strong_labels", mode="before")
    @classmethod
    def _strong_labels_are_listed(cls, value: Any) -> Any:
        check_listed("strong_labels", value)
        return value

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.exemplars and self.examples is None:
            msg = f"Got exemplars={self.exemplars} but no examples to show; give examples=ExemplarSelector.fit(...)"
            raise ValueError(msg)
        if self.rationale and self.structured:
            msg = "Got rationale=True and structured=True, whose output holds the label alone, but expected one of both"
            raise ValueError(msg)
        if self.rationale and self.group > 1:
            msg = f"Got group={self.group} and rationale=True, but a group gives no reasons; use group=1"
            raise ValueError(msg)
        _ = self.prompt, self.parser  # both check their own settings
        if (alike := labels_alike(self.labels)) is not None:
            msg = f"The labels {alike[0]!r} and {alike[1]!r} read alike, so only an exact answer tells them apart"
            warnings.warn(f"{msg}; rename one", LabelWarning, stacklevel=2)
        return self

    def replace(self, **changes: Any) -> Self:
        """The same task with other settings, checked anew.

        Args:
            **changes: Any settings.

        Raises:
            pydantic.ValidationError: The same as for a new task.
        """
        return type(self)(**{**dict(self), **changes})

    def for_scorer(self, scorer: Any) -> Self:
        """The same task, where a track record of "auto" becomes the scorer's own."""
        return self.replace(track_record=getattr(scorer, "track_record", None)) if self.track_record == "auto" else self

    @property
    def selector(self) -> ExemplarSelector | None:
        """The selector of the examples to show. None if none are shown."""
        return replace(self.examples, k=self.exemplars) if self.examples is not None and self.exemplars else None

    @property
    def prompt(self) -> HintPromptBuilder:
        """The builder of the prompts."""
        return HintPromptBuilder(
            labels=self.labels,
            instruction=self.instruction,
            descriptions=self.descriptions,
            hints=self.hints,
            top_k=self.top_k,
            track_record=None if self.track_record == "auto" else self.track_record,
            set_level=self.set_level,
            strong_labels=self.strong_labels,
            exemplars=self.selector,
            rationale=self.rationale,
            template=self.template,
        )

    @property
    def parser(self) -> LabelParser:
        """The parser of the answers."""
        known = {"labels": self.labels, "aliases": self.aliases, "descriptions": self.descriptions}
        return LabelParser(**known, rationale=self.rationale)

    def asker(self, model: Any) -> LabelAsker:
        """The Runnable that asks a model for a label.

        Args:
            model: Any chat model, or Runnable from a prompt to a message or a label.
        """
        return LabelAsker(
            model=model,
            parser=self.parser,
            structured=self.structured,
            retries=self.retries,
            escape=self.hints == "hard",
        )

    @property
    def over_all_labels(self) -> Self | None:
        """The task that asks once more where the answer is "none of these". None if nothing is asked again."""
        return self.replace(hints="soft", set_level=None) if self.reask and self.hints == "hard" else None

    def arm(self, model: Any, *, group: int | None = None) -> Runnable[Any, Any]:
        """The large arm of a branch, a Runnable from the record to a label.

        Args:
            model: Any LangChain chat model, also wrapped by ``with_retry`` and the like. Or any Runnable from a prompt
                to a message or a label.
            group: Most rows of a batch in one prompt. None: as the task says.

        Raises:
            pydantic.ValidationError: Rows are grouped, and a reason is wanted for each.
        """
        task = self if group is None else self.replace(group=group)
        asker, again = task.asker(model), task.over_all_labels
        arm = task.prompt | asker if task.group == 1 else GroupAsker(prompt=task.prompt, asker=asker, group=task.group)
        if again is None:
            return arm
        return arm.with_fallbacks([again.arm(model, group=1)], exceptions_to_handle=(NoneOfTheseError,))

    def to_dict(self) -> dict[str, Any]:
        """The task as plain data for JSON, which `from_dict` reads back.

        It does not hold the examples, which are kept elsewhere.

        Raises:
            InvalidInputError: The template holds anything but plain texts with variables, or has values of its own.
        """
        plain = self.model_dump(mode="python", exclude={"examples", "template", "track_record"})
        for name in ("descriptions", "aliases"):
            plain[name] = as_pairs(plain[name])
        for name in ("labels", "strong_labels"):
            plain[name] = None if plain[name] is None else list(plain[name])
        plain["template"] = None if self.template is None else template_as_data(self.template)
        record = self.track_record
        plain["track_record"] = record.to_dict() if isinstance(record, TrackRecord) else record
        return plain

    @property
    def task_hash(self) -> str | None:
        """SHA-256 of the task without its examples. None if it cannot be written as plain data."""
        try:
            return hash_of(self.to_dict())
        except InvalidInputError:
            return None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, examples: ExemplarSelector | None = None) -> Self:
        """Read back what `to_dict` wrote.

        Args:
            data: Data from `to_dict`. A missing setting gets its default.
            examples: Selector of the solved examples.

        Raises:
            pydantic.ValidationError: A value is out of bounds, or a setting is unknown.
        """
        return cls(**{**data, "examples": examples})
