"""`LabelTask`: what the large model is asked, and how its answer is read, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from langchain_core.runnables import Runnable
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, model_validator

from dsplus_chains.calibration.track_record import TrackRecord
from dsplus_chains.prompting.asker import LabelAsker
from dsplus_chains.prompting.builder import HintPromptBuilder, as_track_record
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.prompting.parser import LabelParser, NoneOfTheseError
from dsplus_chains.prompting.template import Template, template_as_data
from dsplus_chains.schema import Label, Labels, as_pairs, from_pairs

INSTRUCTION = "Decide which of the labels fits the input best."
"""What the large model is told to do, where nobody said anything better."""


class LabelTask(BaseModel):
    """What the large model is asked and how its answer is read.

    Every setting of a task stands here and nowhere else: `data_shunt` and `Bundle` hold a task, `tune_hints` searches
    over it, and `arm` makes of it what a `ConfidenceBranch` asks.

    Args:
        labels: The labels to choose from.
        instruction: What to decide, in your words.
        descriptions: What a label means, by label; need not cover all of them.
        aliases: Further writings of labels that the large model may use.
        hints: What the large model is told of the small one's view: "soft", "hard" or "none".
        top_k: How many labels a hint names at most.
        track_record: How often the small model was right when it was about this sure, which a soft hint then tells.
            "auto" takes the scorer's own; None tells nothing.
        set_level: With ``hints="hard"``: offer as many labels as it takes to have the true one among them, instead of
            `top_k`; from ``tune_threshold(..., set_coverage=0.95)``.
        strong_labels: With ``hints="hard"``: offer all labels but these, which the small model handles by itself; see
            `strong_labels`. Not together with `set_level`.
        exemplars: How many solved examples are shown with each input; 0 shows none, whatever there are. A selector
            stands for as many as it selects, and is where they are found.
        examples: Where solved examples are found.
        structured: Ask for the label as structured output, held to what the prompt offers, if the large model has it.
        retries: 1 asks once more where the answer is no label, and says so; 0 takes the first answer as it is.
        reask: With ``hints="hard"``: ask again, over all labels, where some were left out and the large model answers
            "none of these"; else the small model's answer stands in.
        template: A prompt of your own; see `HintPromptBuilder`.

    Raises:
        pydantic.ValidationError: A value is out of bounds, two settings contradict each other, an unknown keyword.

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
    template: Template = None

    @model_validator(mode="before")
    @classmethod
    def _selector_says_both(cls, data: Any) -> Any:
        given = data.get("exemplars", 0) if isinstance(data, Mapping) else 0
        if isinstance(given, ExemplarSelector):
            return {**data, "exemplars": given.k, "examples": given}
        return {**data, "exemplars": 0} if given is None else data

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.exemplars and self.examples is None:
            msg = f"Got exemplars={self.exemplars} but no examples to show; give examples=ExemplarSelector.fit(...)"
            raise ValueError(msg)
        _ = self.prompt, self.parser  # which check their own settings
        return self

    def replace(self, **changes: Any) -> Self:
        """The same task with other settings, checked anew.

        Args:
            **changes: Any settings.

        Raises:
            pydantic.ValidationError: As for a new task.
        """
        return type(self)(**{**dict(self), **changes})

    def for_scorer(self, scorer: Any) -> Self:
        """The same task, with the scorer's own track record where it is to be told ("auto")."""
        return self.replace(track_record=getattr(scorer, "track_record", None)) if self.track_record == "auto" else self

    @property
    def selector(self) -> ExemplarSelector | None:
        """What finds the examples to be shown; None where none are."""
        return replace(self.examples, k=self.exemplars) if self.examples is not None and self.exemplars else None

    @property
    def prompt(self) -> HintPromptBuilder:
        """What makes the prompts."""
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
            template=self.template,
        )

    @property
    def parser(self) -> LabelParser:
        """What reads an answer."""
        return LabelParser(labels=self.labels, aliases=self.aliases)

    def asker(self, model: Any) -> LabelAsker:
        """What asks a model for a label.

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
        """The task that asks once more where the answer is "none of these"; None where nothing is asked again."""
        return self.replace(hints="soft", set_level=None) if self.reask and self.hints == "hard" else None

    def arm(self, model: Any) -> Runnable[Any, Any]:
        """What a branch asks: a Runnable from the record to a label.

        Args:
            model: Any LangChain chat model, with whatever it has been given by ``with_retry`` and the like, or any
                Runnable from a prompt to a message or a label.
        """
        arm = self.prompt | self.asker(model)
        again = self.over_all_labels
        return (
            arm if again is None else arm.with_fallbacks([again.arm(model)], exceptions_to_handle=(NoneOfTheseError,))
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON, without the examples, which are kept elsewhere; `from_dict` reads it back.

        Raises:
            InvalidInputError: The template holds something else than plain texts with variables.
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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, examples: ExemplarSelector | None = None) -> Self:
        """Read back what `to_dict` wrote.

        Args:
            data: From `to_dict`. A setting that is not there has its default.
            examples: Where solved examples are found.

        Raises:
            pydantic.ValidationError: A value is out of bounds, or a setting unknown.
        """
        return cls(**{**data, "examples": examples})
