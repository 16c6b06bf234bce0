"""`LabelParser`: a chat model's answer becomes exactly one of the labels, or an error; never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel, model_validator
from typing_extensions import override

from dsplus_chains._runnable import BatchRunnable, Configs, Managers
from dsplus_chains.prompting.hints import NONE_OF_THESE
from dsplus_chains.prompting.matching import Mentions, forms_of, plain
from dsplus_chains.schema import Label, Labels, as_label

_ANSWER_KEYS = ("label", "answer", "category", "class", "classification", "prediction", "result", "output")
_CODE_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class NoneOfTheseError(OutputParserException):
    """The large model chose "none of these": label pruning may have taken the right label from it."""


class LabelParser(BatchRunnable[Any, Any]):
    """Reads a chat model's answer as exactly one of the labels.

    In: a message, a string, JSON or an object with the label in it, an enum member, or a label itself. Case, quotes,
    Markdown, punctuation and a sentence around the label do not matter. Out: the label, in its own type.

    An answer that names no label, several labels, or one in doubt ("not positive", "I cannot tell whether it is
    positive") is an error, never a guess; `ConfidenceBranch` then falls back to the small model's answer.

    Args:
        labels: The labels; the type of what is returned.
        aliases: Further writings, each with its label: ``{"pos": "positive"}``. Booleans may always be written as
            yes and no.

    Raises:
        pydantic.ValidationError: No labels, an alias of an unknown label, an unknown keyword.
        OutputParserException: The answer is not exactly one of the labels; `llm_output` holds it.
        NoneOfTheseError: The answer is "none of these".

    Example:
        >>> parser = LabelParser(labels=["positive", "negative"])
        >>> parser.batch(["Negative.", 'The answer is "positive"!', '{"label": "negative"}'])
        ['negative', 'positive', 'negative']
    """

    run_type: ClassVar[str | None] = "parser"

    labels: Labels
    aliases: dict[str, Label] | None = None

    @model_validator(mode="after")
    def _aliases_agree(self) -> Self:
        if unknown := {alias: label for alias, label in (self.aliases or {}).items() if label not in self.labels}:
            msg = f"Got aliases={unknown} of labels that are not among {list(self.labels)}"
            raise ValueError(msg)
        return self

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    @override
    def InputType(self) -> Any:
        return str | BaseMessage

    @property
    @override
    def OutputType(self) -> Any:
        return str | int | bool

    @override
    def _run(self, inputs: list[Any], run_manager: Managers, config: Configs) -> list[Any]:
        return [self._try_parse(value) for value in inputs]

    def _try_parse(self, value: Any) -> Any:
        try:
            return self.parse(value)
        except OutputParserException as error:
            return error

    def parse(self, answer: Any) -> Any:
        """The one label that an answer names; what `invoke` does, without a run of its own."""
        value = as_label(answer.value if isinstance(answer, Enum) else answer)
        if isinstance(value, AIMessage):
            return self._parse_message(value)
        if isinstance(value, BaseMessage):
            value = value.text
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, (Mapping, list)):
            return self._parse_object(value)
        for label in self.labels:
            if type(value) is type(label) and value == label:
                return label
        if isinstance(value, str):
            return self._parse_text(value)
        msg = f"Got {value!r} ({type(value).__name__}) but expected one of the labels {self._shown}"
        raise OutputParserException(msg, llm_output=str(value))

    def _parse_message(self, message: AIMessage) -> Any:
        if refusal := message.additional_kwargs.get("refusal"):
            msg = f"The large model refused: {refusal}"
            raise OutputParserException(msg, llm_output=str(refusal))
        if not message.text and message.tool_calls:
            return self._parse_object(message.tool_calls[0]["args"])
        return self.parse(str(message.text))

    def _parse_object(self, value: Any) -> Any:
        """The label in JSON or a tool call: under a key that says so, or the only value there is."""
        if isinstance(value, Mapping):
            keyed = [v for k, v in value.items() if isinstance(k, str) and k.lower() in _ANSWER_KEYS]
            values = keyed or list(value.values())
        else:
            values = list(value)
        if len(values) == 1:
            return self.parse(values[0])
        msg = f"Got {value!r} but expected one value that is one of the labels {self._shown}"
        raise OutputParserException(msg, llm_output=json.dumps(value, default=str))

    def _parse_text(self, text: str) -> Any:
        unfenced = match[1] if (match := _CODE_FENCE.match(text)) else text
        if unfenced.lstrip()[:1] in {"{", "["}:
            try:
                return self._parse_object(json.loads(unfenced))
            except json.JSONDecodeError:
                pass  # prose that happens to start with a bracket
        mentions = self._mentions
        form = mentions.whole(unfenced)
        if form is not None:
            return self._only({form}, text)
        for part in mentions.marked(unfenced):
            found, doubted = mentions.within(part)
            if found and not doubted:
                everywhere = [mentions.within(other)[0] for other in mentions.marked(unfenced)]
                return self._only(set().union(*everywhere), text)
        found, doubted = mentions.within(unfenced)
        if doubted:
            msg = f"Got {_short(text)}, which names a label only in doubt; expected exactly one of {self._shown}"
            raise OutputParserException(msg, llm_output=text)
        return self._only(found, text)

    def _only(self, found: set[str], text: str) -> Any:
        """The one label behind the forms found."""
        if NONE_OF_THESE in found and NONE_OF_THESE not in self._forms:
            msg = f"Got {_short(text)}: the large model found none of the labels it was offered right"
            raise NoneOfTheseError(msg, llm_output=text)
        labels = set().union(*(self._forms[form] for form in found))
        if len(labels) == 1:
            return labels.pop()
        which = f"names {sorted(map(str, labels))}" if labels else "names none"
        msg = f"Got {_short(text)}, which {which}; expected exactly one of {self._shown}"
        raise OutputParserException(msg, llm_output=text)

    @cached_property
    def _forms(self) -> dict[str, set[Any]]:
        return forms_of(self.labels, self.aliases or {})

    @cached_property
    def _mentions(self) -> Mentions:
        return Mentions({**self._forms, plain(NONE_OF_THESE): NONE_OF_THESE})

    @property
    def _shown(self) -> str:
        shown = ", ".join(repr(label) for label in self.labels[:10])
        return f"[{shown}]" if len(self.labels) <= 10 else f"[{shown}, … ({len(self.labels)} in all)]"


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:120]}…")
