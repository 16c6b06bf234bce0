"""`LabelParser` turns a chat model's answer into exactly one label or an error, never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, model_validator
from typing_extensions import override

from dsplus_chains.prompting.hints import NONE_OF_THESE
from dsplus_chains.prompting.matching import Forms, forms_of, segments, takes_back
from dsplus_chains.prompting.refusals import RefusalError
from dsplus_chains.running.batch_runnable import ComputingRunnable
from dsplus_chains.running.messages import answer_in, unique_keys, without_thoughts
from dsplus_chains.schema import Label, Labels, as_label, brief, describe_error, labels_outside, what_came

_ANSWER_KEYS = (
    *("label", "answer", "final_answer", "category", "class", "classification", "prediction", "result", "output"),
    *("sentiment", "intent", "topic", "verdict", "value"),
)
_CODE_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)

LONGEST = 20_000
"""Number of characters of an answer that are searched. A model that needs more for a label has lost its way."""


class NoneOfTheseError(OutputParserException):
    """The large model chose "none of these". Label pruning may have dropped the right label."""


class LabelParser(ComputingRunnable[Any, Any]):
    """Reads a chat model's answer as exactly one of the labels.

    It takes a message, a string, JSON or an object with the label in it, an enum member, or a label. It returns the
    label in its own type. Case, quotes, Markdown, punctuation and a sentence around the label do not matter. If a
    message calls a tool, the call is the answer, whatever the text says.

    A line or a sentence that is a label decides. Else, prose counts if it says that something is the label.

    An answer is an error if it names no label or several. It is also an error if it is in doubt ("not positive", "I
    cannot tell whether it is positive"). The parser never guesses. `ConfidenceBranch` then falls back to the small
    model's answer.

    Args:
        labels: The labels. The result has their type.
        aliases: Further written forms, each with its label, such as ``{"pos": "positive"}``. Booleans may always be
            written as yes and no.

    Raises:
        pydantic.ValidationError: There are no labels, an alias has an unknown label, or a keyword is unknown.
        OutputParserException: The answer is not exactly one of the labels. `llm_output` holds it.
        NoneOfTheseError: The answer is "none of these".
        RefusalError: The message says that the model refused.

    Example:
        >>> parser = LabelParser(labels=["positive", "negative"])
        >>> parser.batch(["Negative.", 'The answer is "positive"!', '{"label": "negative"}'])
        ['negative', 'positive', 'negative']
    """

    input_type: ClassVar[Any] = str | BaseMessage
    output_type: ClassVar[Any] = str | int | bool

    run_type: ClassVar[str | None] = "parser"

    labels: Labels
    aliases: dict[str, Label] | None = None

    @model_validator(mode="after")
    def _aliases_agree(self) -> Self:
        aliases = self.aliases or {}
        if unknown := {name: label for name, label in aliases.items() if labels_outside([label], self.labels)}:
            msg = f"Got aliases={brief(unknown)} of labels that are not among {brief(list(self.labels))}"
            raise ValueError(msg)
        return self

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return [self._try_parse(value) for value in inputs]

    def _try_parse(self, value: Any) -> Any:
        try:
            return self.parse(value)
        except OutputParserException as error:
            return error
        except Exception as error:  # one strange answer must not fail the others of its batch
            msg = f"Got {_short(repr(value))}, which could not be read: {describe_error(error)}"
            return OutputParserException(msg)

    def parse(self, answer: Any) -> Any:
        """The one label that an answer names. It does the same as `invoke`, without a run of its own."""
        value = as_label(answer.value if isinstance(answer, Enum) else answer)
        if isinstance(value, BaseMessage):
            return self._parse_message(value)
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, (Mapping, list)):
            return self._parse_object(value)
        for label in self.labels:
            if type(value) is type(label) and value == label:
                return label
        if isinstance(value, str):
            return self._parse_text(value)
        msg = f"Got {what_came(value)} but expected one of the labels {self._shown}"
        raise OutputParserException(msg, llm_output=str(value))

    def _parse_message(self, message: BaseMessage) -> Any:
        if refusal := message.additional_kwargs.get("refusal"):
            msg = f"The large model refused: {refusal}"
            raise RefusalError(msg, llm_output=str(refusal))
        return self.parse(answer_in(message))

    def _parse_object(self, value: Any) -> Any:
        """The label in JSON or in a tool call.

        It stands under a key that says so, or it is the only value of a list.
        """
        if isinstance(value, Mapping):
            values = [v for k, v in value.items() if isinstance(k, str) and k.lower() in _ANSWER_KEYS]
        else:
            values = list(value)
        if len(values) == 1 and not isinstance(values[0], (Mapping, list)):
            return self.parse(values[0])
        msg = (
            f"Got {_short(repr(value))} but expected one value under one of the keys {list(_ANSWER_KEYS)}, and that "
            f"to be one of the labels {self._shown}"
        )
        raise OutputParserException(msg, llm_output=repr(value))

    def _parse_text(self, text: str) -> Any:
        said = without_thoughts(text)
        found = _CODE_FENCE.search(said)
        inner = found[1] if found else said
        if inner.lstrip()[:1] in {"{", "["}:
            try:
                return self._parse_object(json.loads(inner, object_pairs_hook=unique_keys))
            except (json.JSONDecodeError, RecursionError):
                pass  # prose that happens to start with a bracket
            except ValueError as error:
                msg = f"Got {_short(text)} but expected JSON that can be read: {error}"
                raise OutputParserException(msg, llm_output=text) from error
        forms = self._matcher
        form = forms.whole(inner)
        if form is not None:
            return self._only({form}, text)
        parts = segments(said[:LONGEST])
        decided = [(number, form) for number, part in enumerate(parts) if (form := forms.decided(part)) is not None]
        if decided:
            label = self._only({form for _, form in decided}, text)
            last = decided[-1][0]
            after = parts[last + 1 :]
            others = {mention.form for part in after for mention in forms.mentions(part)}
            if any(takes_back(part) for part in after) and any(self._forms.get(o) != {label} for o in others):
                msg = f"Got {_short(text)}, which names {label!r} and then seems to take it back; expected one answer"
                raise OutputParserException(msg, llm_output=text)
            return label
        if len(parts) == 1 and (form := forms.first_word(parts[0])) is not None:
            return self._only({form}, text)
        mentions = [mention for part in parts for mention in forms.mentions(part)]
        found_none = all(mention.form.startswith(NONE_OF_THESE) for mention in mentions)
        if not found_none and not all(mention.named for mention in mentions):
            named = sorted({mention.form for mention in mentions})
            msg = f"Got {_short(text)}, which mentions {named} but not as its answer; expected one of {self._shown}"
            raise OutputParserException(msg, llm_output=text)
        return self._only({mention.form for mention in mentions}, text)

    def _only(self, found: set[str], text: str) -> Any:
        """The one label behind the forms found."""
        if any(form.startswith(NONE_OF_THESE) and form not in self._forms for form in found):
            msg = f"Got {_short(text)}: the large model found none of the labels it was offered right"
            raise NoneOfTheseError(msg, llm_output=text)
        labels = set().union(*(self._forms[form] for form in found))
        if len(labels) == 1:
            return labels.pop()
        which = f"names {sorted(map(str, labels))}" if labels else "names none"
        msg = f"Got {_short(text)}, which {which}; expected exactly one of {self._shown}"
        raise OutputParserException(msg, llm_output=text)

    @property
    def takes_none_of_these(self) -> bool:
        """Whether "none of these" is a label or an alias, and so cannot mean that no label fits."""
        return NONE_OF_THESE in self._forms

    @cached_property
    def _forms(self) -> dict[str, set[Any]]:
        return forms_of(self.labels, self.aliases or {})

    @cached_property
    def _matcher(self) -> Forms:
        nothing: set[Any] = {NONE_OF_THESE}
        return Forms({NONE_OF_THESE: nothing, f"{NONE_OF_THESE} apply": nothing, **self._forms})

    @property
    def _shown(self) -> str:
        shown = ", ".join(repr(label) for label in self.labels[:10])
        return f"[{shown}]" if len(self.labels) <= 10 else f"[{shown}, … ({len(self.labels)} in all)]"


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:120]}…")
