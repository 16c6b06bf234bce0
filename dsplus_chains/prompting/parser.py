"""`LabelParser` turns a chat model's answer into exactly one label or an error, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, BeforeValidator, model_validator
from typing_extensions import override

from dsplus_chains.prompting.answer_words import rank
from dsplus_chains.prompting.fields import DEEPEST, as_text, candidates, whole_json, without_markup, without_objects
from dsplus_chains.prompting.hints import NONE_OF_THESE
from dsplus_chains.prompting.matching import Forms
from dsplus_chains.prompting.rationale import cut_reason, reason_in
from dsplus_chains.prompting.reasons import contradict
from dsplus_chains.prompting.statements import stated
from dsplus_chains.prompting.verdict import stated_forms
from dsplus_chains.running.batch_runnable import ComputingRunnable
from dsplus_chains.running.endings import CutOffError, RefusalError, check_ending
from dsplus_chains.running.messages import answer_in, said_and_parsed, without_thoughts
from dsplus_chains.schema import (
    Label,
    Labels,
    as_label,
    brief,
    describe_error,
    from_pairs,
    labels_outside,
    same_label,
    shown,
    what_came,
)

__all__ = ["CutOffError", "LabelParser", "NoneOfTheseError", "RefusalError"]

LONGEST = 40_000
"""Most characters of an answer that is read. A model that needs more for a label has lost its way."""


class NoneOfTheseError(OutputParserException):
    """The large model chose "none of these". Label pruning may have dropped the right label."""


class LabelParser(ComputingRunnable[Any, Any]):
    """Reads a chat model's answer as exactly one of the labels.

    It takes a message, a string, JSON or an object with the label in it, an enum member, or a label. It returns the
    label in its own type. Case, quotes, Markdown, punctuation and tags around the label do not matter. If a message
    calls a tool, the call is the answer, whatever the text says. It also takes what
    ``model.with_structured_output(..., include_raw=True)`` gives.

    An answer counts if a line or a sentence of it states a label and nothing else. Examples are "Negative.", "Label:
    negative" and "The sentiment is negative." Reasons may stand before or after it. The forms of such sentences are a
    closed list. Whatever else a sentence says of a label is no answer, as in "he denies that it is negative".

    An answer is an error if it states no label or several. It is also an error if it seems to take its label back, or
    if the provider says that it was cut off. The parser never guesses. `LabelAsker` then asks once more.

    Args:
        labels: The labels. The result has their type.
        aliases: Further written forms, each with its label, such as ``{"pos": "positive"}``. Booleans may always be
            written as yes and no.
        descriptions: The meaning of each label, by label, if the prompt shows it. The model may repeat it.
        rationale: Whether the model was asked for a reason in a line of its own. What it says there is free, as long as
            it calls nothing another label, and does not deny the answer.

    Raises:
        pydantic.ValidationError: There are no labels, an alias or a description has an unknown label, or a keyword is
            unknown.
        OutputParserException: The answer is not exactly one of the labels. `llm_output` holds it.
        NoneOfTheseError: The answer is "none of these".
        CutOffError: The message says that the answer was cut off.
        RefusalError: The message says that the model refused.

    Example:
        >>> parser = LabelParser(labels=["positive", "negative"])
        >>> parser.batch(["Negative.", 'The answer is "positive"!', '{"label": "negative"}'])
        ['negative', 'positive', 'negative']
    """

    input_type: ClassVar[Any] = str | BaseMessage
    output_type: ClassVar[Any] = str | int | bool

    run_type: ClassVar[str | None] = "parser"
    reads_label: ClassVar[bool] = True

    labels: Labels
    aliases: dict[str, Label] | None = None
    descriptions: Annotated[dict[Label, str] | None, BeforeValidator(from_pairs)] = None
    rationale: bool = False

    @model_validator(mode="after")
    def _aliases_agree(self) -> Self:
        aliases = self.aliases or {}
        if strange := labels_outside(self.descriptions or {}, self.labels):
            msg = f"Got descriptions of {strange}, which are not among the labels {list(self.labels)}"
            raise ValueError(msg)
        if unknown := {name: label for name, label in aliases.items() if labels_outside([label], self.labels)}:
            msg = f"Got aliases={brief(unknown)} of labels that are not among {brief(list(self.labels))}"
            raise ValueError(msg)
        return self

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        results: list[Any] = []
        for value in inputs:
            try:
                results.append(self.parse(value))
            except OutputParserException as error:
                results.append(error)
        return results

    def parse(self, answer: Any) -> Any:
        """The one label that an answer gives. It does the same as `invoke`, without a run of its own."""
        try:
            said, parsed = said_and_parsed(answer)
            if said is not parsed:
                check_ending(said)
            label = self._parse(parsed, 0)
            if self.rationale:
                self._check_reason(said, label)
        except OutputParserException:
            raise
        except Exception as error:  # one strange answer must not fail the others of its batch
            msg = f"Got {what_came(answer)}, which could not be read: {describe_error(error)}; expected a label"
            raise OutputParserException(msg) from error
        return label

    def reason_in(self, answer: Any) -> str | None:
        """The reason that an answer gives beside its label. None if it gives none."""
        return reason_in(answer, self._states)

    def _states(self, line: str) -> bool:
        told = stated(" ".join(line.split()), self._forms) if len(line) <= self._forms.limit else None
        return told is not None and told.form is not None

    def _check_reason(self, answer: Any, label: Any) -> None:
        """Refuse an answer whose reason calls something another label, or denies its own."""
        reason = self.reason_in(answer)
        if reason is None or not contradict([reason], self._forms.find(str(label)) or "", self._forms):
            return
        said = answer_in(answer) if isinstance(answer, BaseMessage) else answer
        msg = f"Got {shown(said)}, whose reason speaks against its answer {label!r}; expected one of {self._shown}"
        raise OutputParserException(msg, llm_output=said if isinstance(said, str) else shown(said, LONGEST))

    def _parse(self, answer: Any, depth: int) -> Any:
        value = as_label(answer.value if isinstance(answer, Enum) else answer)
        if isinstance(value, BaseMessage):
            check_ending(value)
            value = answer_in(value)
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if depth == 0 and isinstance(value, Mapping) and len(value) == 1:
            ((key, only),) = value.items()  # of a schema with one field, such as `is_spam`
            names_it = isinstance(key, str) and rank(key.removeprefix("is_")) is not None
            if names_it and isinstance(only, (bool, int)) and any(same_label(label, only) for label in self.labels):
                return only
        if isinstance(value, (Mapping, list)) and depth < DEEPEST:
            return self._parse_object(value, depth + 1)
        for label in self.labels:
            if type(value) is type(label) and value == label:
                return label
        if isinstance(value, str) and depth < DEEPEST:
            return self._parse_text(value, depth + 1)
        msg = f"Got {what_came(value)} but expected one of the labels {self._shown}"
        raise OutputParserException(msg, llm_output=shown(value, LONGEST))

    def _parse_object(self, value: Any, depth: int) -> Any:
        """The label in JSON or in a tool call.

        It stands under a key that says so, or it is the only value.
        """
        given, beside = candidates(value) if isinstance(value, Mapping) else (value if len(value) == 1 else [], [])
        labels = [self._parse_value(one, depth) for one in given]
        for one in beside:
            try:
                labels.append(self._parse_value(one, depth))
            except OutputParserException:
                continue  # it is about something else
        if labels and all(same_label(label, labels[0]) for label in labels):
            return labels[0]
        msg = (
            f"Got {shown(value)} but expected one value under a key such as 'label' or 'answer', and that to be one of "
            f"the labels {self._shown}"
        )
        raise OutputParserException(msg, llm_output=shown(value, LONGEST))

    def _parse_value(self, value: Any, depth: int) -> Any:
        """The label in one value of an object. JSON may write it in another type."""
        for written in as_text(value):
            form = self._forms.find(written)
            if form is not None:
                return self._only({form}, written)
        return self._parse(value, depth)

    def _parse_text(self, text: str, depth: int) -> Any:
        said = without_thoughts(text).strip()
        if len(said) > LONGEST:
            msg = f"Got an answer of {len(said):,} characters but expected a label, in at most {LONGEST:,}"
            raise OutputParserException(msg, llm_output=text)
        form = self._forms.find(said)
        if form is not None:
            return self._only({form}, text)
        try:
            return self._parse_stated(said, text, depth)
        except OutputParserException:
            rest, _ = cut_reason(said, self._states) if self.rationale else (said, None)
            if rest == said:
                raise
        return self._parse_stated(rest, text, depth)

    def _parse_stated(self, said: str, text: str, depth: int) -> Any:
        """The label that an answer states.

        Args:
            said: The answer without thoughts, perhaps also without the reason that was asked for.
            text: The whole answer.
            depth: How many objects, lists and texts around it have been opened.
        """
        try:
            found = whole_json(said)
            if found is not None:
                return self._parse(found, depth)
            said = without_objects(without_markup(said), lambda one: str(self._parse_object(one, depth)))
        except OutputParserException as error:
            error.llm_output = text
            raise
        except ValueError as error:
            msg = f"Got {shown(text)} but expected JSON that can be read: {error}"
            raise OutputParserException(msg, llm_output=text) from error
        if said.count("{") != said.count("}"):
            msg = f"Got {shown(text)}, in which braces are open, but expected a label, or JSON that is whole"
            raise OutputParserException(msg, llm_output=text)
        forms, decided = stated_forms(said, self._forms)
        label = self._only(forms, text)
        if not decided:
            msg = f"Got {shown(text)}, which says more than its answer {label!r}; expected one of {self._shown} alone"
            raise OutputParserException(msg, llm_output=text)
        return label

    def _only(self, found: set[str], text: str) -> Any:
        """The one label behind the forms found."""
        labels_of = self._forms.labels_of
        if NONE_OF_THESE in found and NONE_OF_THESE not in labels_of and len(found) == 1:
            msg = f"Got {shown(text)}: the large model found none of the labels it was offered right"
            raise NoneOfTheseError(msg, llm_output=text)
        labels = set().union(*(labels_of.get(form, {form}) for form in found))
        if len(labels) == 1:
            return labels.pop()
        which = f"states {sorted(map(str, labels))}" if labels else "states none as its answer"
        msg = f"Got {shown(text)}, which {which}; expected exactly one of {self._shown}"
        raise OutputParserException(msg, llm_output=text)

    @property
    def takes_none_of_these(self) -> bool:
        """Whether "none of these" is a label or an alias, and so cannot mean that no label fits."""
        return NONE_OF_THESE in self._forms.labels_of

    @cached_property
    def _forms(self) -> Forms:
        return Forms(self.labels, self.aliases or {}, self.descriptions)

    @property
    def _shown(self) -> str:
        named = ", ".join(shown(label) for label in self.labels[:10])
        return f"[{named}]" if len(self.labels) <= 10 else f"[{named}, … ({len(self.labels)} in all)]"
