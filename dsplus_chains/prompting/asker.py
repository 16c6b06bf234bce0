"""`LabelAsker` asks a chat model for a label, and asks once more if the answer is no label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import ChatPromptValue, ChatPromptValueConcrete, PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import model_validator
from typing_extensions import override

from dsplus_chains.prompting.hints import NONE_OF_THESE, label_list
from dsplus_chains.prompting.offer import LabelPrompt
from dsplus_chains.prompting.parser import LabelParser, NoneOfTheseError
from dsplus_chains.prompting.structured import rows_held_to
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.endings import CutOffError, RefusalError, spoken
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.messages import answer_in, said_and_parsed, without_thoughts
from dsplus_chains.running.prompted import PromptedModel
from dsplus_chains.running.usage import UsageCollector, traced_each
from dsplus_chains.schema import WiringError, shorten

_ANSWERS = (NoneOfTheseError, RefusalError)
"""What a model may answer in place of a label. Asking again would not change its mind."""

_TWO_MEANINGS = (
    f'with which "{NONE_OF_THESE}" says that no label fits, but the parser has a label or an alias of that name. '
    "Give it another one"
)

QUOTED, REPEATED = 80, 1000
"""Lengths in characters. The first is how much of an unreadable answer is quoted in the next question. The second is
how much of it is repeated as the model's own message."""


class LabelAsker(BatchRunnable[Any, Any]):
    """Asks a chat model for labels, one batch at a time, and asks once more where the answer is no label.

    It takes a prompt: a `ChatPromptValue` from `HintPromptBuilder`, messages, or a string. It returns the label in its
    own type.

    Answers that cannot be read as exactly one label go back in one further batch. So do answers that were cut off. The
    model then gets the conversation so far, what was wrong, and a reminder of the labels, as a `ChatPromptValue`. A
    refusal is an answer and is not asked again. The same holds for "none of these" where it was offered. A failed call
    is not asked again either. LangChain has `with_retry` for that.

    If the parser has `rationale`, the reason beside a label becomes `large.rationale` in the record of a branch.

    The model may name a label that was pruned from the prompt. That label is accepted as an answer. `structured`
    prevents such answers.

    Args:
        model: Chat model, or any Runnable from a prompt to a message or a label.
        parser: Parser that reads the answers and knows the labels.
        structured: Whether to ask for the label as structured output, to which most providers hold the model. It allows
            what a prompt of `HintPromptBuilder` offers. With another prompt it allows all labels. A model without
            structured output is asked for text. So is one with configurable fields, which is told once.
        escape: Whether prompts offer "none of these", and perhaps not all labels. It counts only for prompts that do
            not say so themselves. Those of `HintPromptBuilder` do.
        retries: Number of further questions, 1 or 0. With 0 the first answer is final.

    Raises:
        pydantic.ValidationError: The number of retries is not 0 or 1, or the model's structured output cannot be a
            label. Or the model is an app that begins with a prompt of its own. Or `escape` is set and a label or an
            alias is called "none of these". Or a keyword is unknown.
        OutputParserException: The answer is not exactly one of the labels. `llm_output` holds it.
        CutOffError: The answer was cut off.
        RefusalError: The model refused. `llm_output` holds what it said.
        NoneOfTheseError: The answer is "none of these", which was offered.
        WiringError: The prompt offers "none of these", but a label or an alias has that name.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> model = FakeListChatModel(responses=["Hard to say.", "Negative."])
        >>> LabelAsker(model=model, parser=LabelParser(labels=["positive", "negative"])).invoke("It broke. Sentiment?")
        'negative'
    """

    input_type: ClassVar[Any] = str | ChatPromptValueConcrete | list[AnyMessage]
    output_type: ClassVar[Any] = str | int | bool

    reads_label: ClassVar[bool] = True

    model: PromptedModel
    parser: LabelParser
    structured: bool = False
    escape: bool = False
    retries: Literal[0, 1] = 1

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.escape and self.parser.takes_none_of_these:
            msg = f"Got escape=True, {_TWO_MEANINGS}"
            raise ValueError(msg)
        self._addressed([None])
        return self

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return get_unique_config_specs([*self.model.config_specs, *self.parser.config_specs])

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return (self.model | self.parser).get_graph(config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, prompts = self._checked(inputs)
        for turn in range(1, 2 + self.retries):
            if not prompts:
                break
            own = [config[row] for row in prompts], [run_manager[row] for row in prompts]
            configs = traced_each(*own, f"ask:{turn}")
            asked = Ask(*self._addressed(list(prompts.values())), configs, kwargs)
            heard = _heard(results, prompts, (yield asked).outputs)
            own = [config[row] for row in heard], [run_manager[row] for row in heard]
            configs = traced_each(*own, f"read:{turn}")
            read = yield Ask(self.parser, list(heard.values()), configs, managers=run_manager)
            if self.parser.rationale:
                _tell_reasons(self.parser, heard, read.outputs, run_manager)
            prompts = self._open(results, prompts, heard, read.outputs)
        return results

    def _checked(self, inputs: list[Any]) -> tuple[list[Any], dict[int, Any]]:
        """The results so far, which are errors, and the prompts that can be asked."""
        twofold = self.parser.takes_none_of_these
        results = [
            WiringError(f"Got a prompt that offers it, {_TWO_MEANINGS}") if twofold and self._escape(prompt) else None
            for prompt in inputs
        ]
        return results, {row: inputs[row] for row, error in enumerate(results) if error is None}

    def _addressed(self, prompts: list[Any]) -> tuple[Runnable[Any, Any], list[Any]]:
        """The model in the form in which it is asked, and its inputs."""
        if not self.structured:
            return self.model, prompts
        return rows_held_to(self.model, [self._choices(prompt) for prompt in prompts], prompts)

    def _choices(self, prompt: Any) -> tuple[str, ...]:
        """The answers that a prompt allows."""
        offered = prompt.offered if isinstance(prompt, LabelPrompt) else tuple(map(str, self.parser.labels))
        return (*offered, NONE_OF_THESE) if self._escape(prompt) else offered

    def _escape(self, prompt: Any) -> bool:
        """Whether a prompt offers "none of these"."""
        return prompt.escape if isinstance(prompt, LabelPrompt) else self.escape

    def _open(
        self, results: list[Any], prompts: Mapping[int, Any], heard: Mapping[int, Any], labels: list[Any]
    ) -> dict[int, Any]:
        """Keep what was read, and return the prompts that ask again for the rest."""
        again = {}
        for (row, answer), label in zip(heard.items(), labels, strict=True):
            results[row] = label
            if isinstance(label, NoneOfTheseError) and not self._escape(prompts[row]):
                msg = f'Got "{NONE_OF_THESE}", which was not offered; expected exactly one of the labels'
                results[row] = OutputParserException(msg, llm_output=label.llm_output)
            unread = isinstance(results[row], OutputParserException) and not isinstance(results[row], _ANSWERS)
            if unread and isinstance(prompts[row], (PromptValue, str, list)):
                again[row] = self._again(prompts[row], answer, cut=isinstance(results[row], CutOffError))
        return again

    def _again(self, prompt: Any, answer: Any, *, cut: bool) -> ChatPromptValue:
        said = _said(answer)
        quoted = " ".join(shorten(said, REPEATED).split())
        quoted = json.dumps(shorten(quoted, QUOTED), ensure_ascii=False) if said else "An empty answer"
        wrong = "Your answer was cut off." if cut else f"{quoted} is not exactly one of the labels."
        wanted = (
            f'Answer with one of the labels that are offered above, or with "{NONE_OF_THESE}".'
            if self._escape(prompt)
            else f"Answer with one of:\n{label_list(self._choices(prompt), None)}"
        )
        chat = prompt if isinstance(prompt, ChatPromptValue) else ChatPromptValue(messages=_messages(prompt))
        messages = [
            *chat.messages,
            AIMessage(shorten(said, REPEATED) or "…"),  # not every provider takes an empty message
            HumanMessage(f"{wrong} {wanted}"),
        ]
        return chat.model_copy(update={"messages": messages})  # keeps what it offers


def _heard(results: list[Any], prompts: Mapping[int, Any], answers: list[Any]) -> dict[int, Any]:
    """The answers that came.

    A client that raises because of how an answer ended has been answered. A failed first call becomes the row's result.
    A failed second call leaves the first answer's error in place.
    """
    heard = {}
    for row, answer in zip(prompts, answers, strict=True):
        told = spoken(answer) if isinstance(answer, Exception) else answer
        if told is not None:
            heard[row] = told
        elif results[row] is None:
            results[row] = answer
    return heard


def _tell_reasons(parser: LabelParser, heard: Mapping[int, Any], labels: list[Any], managers: list[Manager]) -> None:
    """Tell each row's collectors the reason that came with a label."""
    for (row, answer), label in zip(heard.items(), labels, strict=True):
        reason = None if isinstance(label, Exception) else parser.reason_in(answer)
        if reason is not None:
            for handler in managers[row].get_child().handlers:
                if isinstance(handler, UsageCollector):
                    handler.explain(reason)


def _messages(prompt: Any) -> list[BaseMessage]:
    if isinstance(prompt, PromptValue):
        return prompt.to_messages()
    return convert_to_messages([prompt] if isinstance(prompt, str) else prompt)


def _said(answer: Any) -> str:
    """The part of an answer that the parser reads, in words."""
    answer, _ = said_and_parsed(answer)
    said = answer_in(answer) if isinstance(answer, BaseMessage) else str(answer)
    return without_thoughts(said).strip() if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
