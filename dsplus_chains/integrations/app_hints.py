"""Hints for an app that has a prompt of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import BasePromptTemplate, ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import override

from dsplus_chains.integrations.app_steps import bare, replaced
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Ask, Chunk, Configs, Flow, Manager, Next, Open, StreamFlow
from dsplus_chains.running.pulled_stream import END
from dsplus_chains.running.usage import traced, traced_each
from dsplus_chains.schema import check_choice

HintPlace: TypeAlias = Literal["none", "soft", "system"]
"""How an app is told of the small model's view: not at all, by its prompt's `hints`, or by a system message."""

HINTS_KEY = "dsplus_hints"
"""The configurable value that carries a row's hint to the step that shows it."""

VARIABLE = "hints"
"""The variable of a prompt that takes the hint."""


class HintedStep(BatchRunnable[Any, Any]):
    """A prompt or a chat model of an app, which is shown the row's hint.

    Args:
        step: The prompt or the model.
        key: The configurable value that holds the hint. It may hold a dict of texts by variable, too.
        variable: The variable of the prompt that takes it.
    """

    takes_record: ClassVar[bool] = False

    step: Runnable[Any, Any]
    key: str = HINTS_KEY
    variable: str = VARIABLE

    @property
    @override
    def InputType(self) -> Any:
        return self.step.InputType

    @property
    @override
    def OutputType(self) -> Any:
        return self.step.OutputType

    @override
    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        prompt = bare(self.step)
        if isinstance(prompt, BasePromptTemplate):  # the hint is given here, and not by the caller
            return prompt.partial(**{self.variable: ""}).get_input_schema(config)
        return self.step.get_input_schema(config)

    @override
    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        return self.step.get_output_schema(config)

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.step.config_specs

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        shown = [self._shown(value, each) for value, each in zip(inputs, config, strict=True)]
        configs = traced_each(config, run_manager, "hinted")
        return (yield Ask(self.step, shown, configs, kwargs)).outputs

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        shown, child = self._shown(value, config), traced(config, run_manager, "hinted")
        stream = yield Open(self.step, shown, child, kwargs)
        while (piece := (yield Next(stream))) is not END:
            yield Chunk(piece)

    def _shown(self, value: Any, config: RunnableConfig) -> Any:
        """The step's input with the row's hint in it."""
        hint = config.get("configurable", {}).get(self.key, "")
        texts = dict(hint) if isinstance(hint, Mapping) else {self.variable: hint}
        prompt = bare(self.step)
        if isinstance(prompt, BasePromptTemplate):
            return _in_prompt(prompt, texts, value)
        return _in_system(value, texts[self.variable])


def with_hints(
    app: Runnable[Any, Any],
    place: HintPlace,
    *,
    key: str = HINTS_KEY,
    variable: str = VARIABLE,
    others: Collection[str] = (),
) -> Runnable[Any, Any]:
    """The app with a place for the hint, and else as it was.

    Args:
        app: The app.
        place: "soft" uses the variable or the placeholder `hints` of each prompt in the app. "system" sends a system
            message of its own, before the app's messages. It goes to the model that answers, which is the last chat
            model of a sequence. A model before it, such as one that rewrites the question, is not told.
        key: The configurable value that holds the hint.
        variable: The variable of the prompt that takes it.
        others: Further variables of prompts, for which the configurable value may hold texts.

    Raises:
        ValueError: The word is unknown, or the app has no such place.
    """
    check_choice("hints", place, get_args(HintPlace))
    if place == "none":
        return app
    wanted = partial(_takes, {variable, *others}) if place == "soft" else is_chat_model
    into = partial(HintedStep, key=key, variable=variable)
    changed = replaced(app, wanted, into, only_last=place == "system")
    if changed is app:
        told = (
            f"prompt with the variable {{{variable}}}. Add it to the prompt, or ask for a system message with "
            "hints='system'"
            if place == "soft"
            else "chat model in the app's sequence. Give its prompt a variable {hints}, and ask with hints='soft'"
        )
        msg = f"Got hints={place!r} but found no {told}"
        raise ValueError(msg)
    return changed


def takes_variable(app: Runnable[Any, Any], *variables: str) -> bool:
    """Whether a prompt in an app has one of the variables."""
    return replaced(app, partial(_takes, set(variables)), HintedStep) is not app


def _takes(variables: Set[str], step: Runnable[Any, Any]) -> bool:
    prompt = bare(step)
    return isinstance(prompt, BasePromptTemplate) and not variables.isdisjoint(
        [*prompt.input_variables, *prompt.optional_variables]
    )


def is_chat_model(step: Runnable[Any, Any]) -> bool:
    """Whether a step is a chat model, whatever is bound to it."""
    return isinstance(bare(step), BaseChatModel)


def _in_prompt(prompt: Any, texts: Mapping[str, str], value: Any) -> Any:
    """A prompt's input with the texts in it, by their variables."""
    listed = {
        part.variable_name
        for part in (prompt.messages if isinstance(prompt, ChatPromptTemplate) else [])
        if isinstance(part, MessagesPlaceholder)
    }
    shown = {name: ([SystemMessage(text)] if text else []) if name in listed else text for name, text in texts.items()}
    if isinstance(value, Mapping):
        return {**value, **shown}
    others = [name for name in prompt.input_variables if name not in shown]
    return {**dict.fromkeys(others[:1], value), **shown}


def _in_system(value: Any, hint: str) -> Any:
    """A chat model's input with the hint before it."""
    if not hint:
        return value
    messages = value.to_messages() if isinstance(value, PromptValue) else None
    if messages is None:
        messages = convert_to_messages([value] if isinstance(value, str) else value)
    leading = next(
        (number for number, said in enumerate(messages) if not isinstance(said, SystemMessage)), len(messages)
    )
    return [*messages[:leading], SystemMessage(hint), *messages[leading:]]
