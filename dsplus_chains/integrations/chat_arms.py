"""The two arms of a shunted chat model: the small model's message, and the large model with its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import get_config_list
from typing_extensions import override

from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_steps import wrapped_by
from dsplus_chains.integrations.graph_shunt import GraphShunt, graph_in
from dsplus_chains.integrations.history_shunt import HistoryShunt, history_in, remembering
from dsplus_chains.integrations.output_type import ends_in_chat_model, ends_in_text_parser
from dsplus_chains.integrations.small_message import SMALL_MODEL, as_chunk, small_message, text_of
from dsplus_chains.running.flow import Ask, Configs, Flow
from dsplus_chains.running.telling import tell_once

SAME_ANSWER = frozenset(
    [
        "stop",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "top_p",
        "top_k",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "timeout",
        "min_p",
        "repeat_penalty",
        "max_output_tokens",
        "num_predict",
        "num_ctx",
        "stream",
        "stream_usage",
        "stream_options",
        "reasoning",
        "reasoning_effort",
        "verbosity",
        "service_tier",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "extra_headers",
        "extra_query",
    ]
)
"""The arguments of a call that leave it to the model what kind of answer it gives."""

OF_CLIENT = frozenset({"api_key", "max_retries"})
"""The settings that a chat model reads only while it makes its client."""


class Judged(NamedTuple):
    """A text with the label that the small model gave it."""

    text: str
    label: Any


class SmallReply(BaseChatModel):
    """The small model's answers as a chat model, so that all who listen to chat models hear them.

    Args:
        write: The function from a label to a message.
    """

    write: Callable[[Any], AIMessage]
    cache: bool = False

    @property
    @override
    def _llm_type(self) -> str:
        return SMALL_MODEL

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        del stop, kwargs
        return LangSmithParams(ls_provider=SMALL_MODEL, ls_model_name=SMALL_MODEL, ls_model_type="chat")

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: Any = None,
        *,
        label: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message(label))])

    @override
    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._generate(messages, **kwargs)  # it takes no thread

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: Any = None,
        *,
        label: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=as_chunk(self._message(label)))

    def _message(self, label: Any) -> AIMessage:
        # What is done with one answer does not change the next, and the id of an earlier one would take its place.
        return self.write(label).model_copy(deep=True, update={"id": None})

    @override
    def batch(self, inputs: list[Any], config: Any = None, *, return_exceptions: bool = False, **kwargs: Any) -> Any:
        """One message for each `Judged`, or the error. A pool of threads would cost more than the work."""
        outputs: list[Any] = []
        for judged, each in zip(inputs, get_config_list(config, len(inputs)), strict=True):
            try:
                said = self._unheard(judged, each) or self.invoke(judged.text, each, label=judged.label)
                outputs.append(said)
            except Exception as error:
                outputs.append(error)
        return outputs

    @override
    async def abatch(
        self, inputs: list[Any], config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> Any:
        outputs: list[Any] = []
        for judged, each in zip(inputs, get_config_list(config, len(inputs)), strict=True):
            try:
                said = self._unheard(judged, each) or await self.ainvoke(judged.text, each, label=judged.label)
                outputs.append(said)
            except Exception as error:
                outputs.append(error)
        return outputs

    def _unheard(self, judged: Judged, config: RunnableConfig) -> AIMessage | None:
        """The message without a run, where nobody listens to one."""
        callbacks = config.get("callbacks")
        if self.output_version is not None or not isinstance(callbacks, BaseCallbackManager) or callbacks.handlers:
            return None
        return self._message(judged.label).model_copy(update={"id": f"lc_run--{uuid4()}"})


class SaidShunt(AppShunt):
    """A shunt around an app whose answers a chat model says. Another one says the small model's.

    Args:
        small: The chat model that says the small model's answers.
    """

    small: SmallReply

    @override
    def _writing(self, records: list[dict[str, Any]], configs: Configs) -> Ask:
        return Ask(self.small, [Judged(record["input"], record["answer"]) for record in records], configs)


class TextShunt(SaidShunt):
    """A shunt around an app whose last step takes the text out of a message. The small model's message is heard too."""

    @override
    def _small(self, results: list[Any], rows: list[int], run_manager: Any, config: Configs) -> Flow:
        yield from super()._small(results, rows, run_manager, config)
        for row in rows:
            if not isinstance(results[row], Exception):
                results[row]["answer"] = text_of(results[row]["answer"])


def heard_shunt(app: Runnable[Any, Any], made: Sequence[Any], parts: Mapping[str, Any]) -> AppShunt:
    """The shunt around an app. Where a chat model says the app's answers, one says the small model's too.

    So whoever listens to chat models hears both, such as ``stream_mode="messages"`` of a graph.

    Args:
        app: The app, without a place for hints.
        made: The output of each label. Without labels, it is not known what the small model's answers look like.
        parts: The fields of the shunt.
    """
    if made and ends_in_chat_model(app) and all(isinstance(said, AIMessage) for said in made):
        return SaidShunt(**parts, small=SmallReply(write=parts["write"]))
    if made and ends_in_text_parser(app) and all(isinstance(said, str) for said in made):
        return TextShunt(**parts, small=SmallReply(write=partial(_message_of, parts["write"])))
    history, config = history_in(app)
    if history is not None:
        small = remembering(history, parts["write"]).with_config(config)
        return HistoryShunt(**parts, small=small, key=history.input_messages_key)
    return GraphShunt(**parts) if graph_in(app) is not None else AppShunt(**parts)


def _message_of(write: Callable[[Any], Any], label: Any) -> AIMessage:
    return small_message(write(label))


def wants_more(large: Runnable[Any, Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call wants what the large model alone can give, such as a call of a tool, or JSON.

    Any argument that is not known to be harmless counts. Those count too that the large model is bound to, and it is
    told if the small model is never asked because of them.
    """
    called = kwargs
    while (inner := wrapped_by(large)) is not None:
        kwargs = {**(large.kwargs if isinstance(large, RunnableBindingBase) else {}), **kwargs}
        large = inner
    wanted = [name for name, value in kwargs.items() if value and name not in SAME_ANSWER]
    if wanted and called.keys().isdisjoint(wanted):
        tell_once(f"The large model is bound to {', '.join(wanted)}, so it answers all that the small model might have")
    return bool(wanted)


def with_settings(large: BaseChatModel, settings: Mapping[str, Any]) -> BaseChatModel:
    """A copy of a chat model with other settings.

    Args:
        large: The model.
        settings: The settings by the names that LangChain's chat models share. One that the model lacks is left out, as
            chat models do, but is told.
    """
    fields = type(large).model_fields
    known = {name: key for name, field in fields.items() for key in (field.alias or name, name) if key in settings}
    if lacking := sorted(set(settings) - set(known.values())):
        tell_once(f"{type(large).__name__} has no setting {', '.join(lacking)}. It is left out")
    changed = {name: settings[key] for name, key in known.items()}
    if OF_CLIENT & set(known.values()):
        return _anew(large, changed)
    copied = large.model_copy(update=changed)
    for name in set(copied.__dict__) - set(fields):
        del copied.__dict__[name]  # what was derived from the old settings
    return copied


def _anew(large: BaseChatModel, changed: Mapping[str, Any]) -> BaseChatModel:
    """The model made once more, so that its clients have the settings too.

    A model keeps its clients in fields that are never written down. One that a new model makes by itself is left to it.
    """
    kind, fields = type(large), type(large).model_fields

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        return {fields[name].alias or name: value for name, value in values.items()}

    held = {name: getattr(large, name) for name in fields if name in large.model_fields_set}
    written = {name: value for name, value in held.items() if not fields[name].exclude}
    fresh = kind(**named(written))
    of_all = BaseChatModel.model_fields
    kept = {name: value for name, value in held.items() if name in of_all or getattr(fresh, name) is None}
    return kind(**named({**written, **kept, **changed}))
