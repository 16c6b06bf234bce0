"""A chat model whose run is a chain. Other chat models answer in it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from pydantic import ConfigDict
from typing_extensions import override

from dsplus_chains.running.batch_runnable import BatchRunnable


class ChainChatModel(BatchRunnable[LanguageModelInput, AIMessage], BaseChatModel):  # type: ignore[misc]  # the two bases type `stream` differently
    """A chat model that asks other chat models.

    Each way to call it is a batch of its `_flow`, and a run of a chain. A chat model's own run would tell each answer
    once more. Then chunks would be doubled, and tokens counted twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    takes_record: ClassVar[bool] = False

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return False  # LangChain dumps a chat model whenever it is called, and a small model may not be saved yet

    @abstractmethod
    def _arm_chooser(self, kwargs: Mapping[str, Any]) -> Runnable[Any, list[Any]]:
        """The Runnable from a conversation to the chat model that answers it, in a list.

        Args:
            kwargs: What the model is called with.
        """

    @override
    def _settled(self, config: Any) -> Any:
        """The config with the callbacks, tags and metadata of the model itself."""
        metadata = {name: held for name, held in (self.metadata or {}).items() if name != "lc_versions"}
        if not (self.callbacks or self.tags or metadata):
            return config
        own = RunnableConfig(callbacks=self.callbacks, tags=self.tags or [], metadata=metadata)
        return [merge_configs(own, each) for each in config] if isinstance(config, list) else merge_configs(own, config)

    @override
    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Any = None,
        *,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        config, rest = _config_of(callbacks, run_id, stop, kwargs)
        return _as_result(self.batch([*messages], config, **rest))

    @override
    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Any = None,
        *,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        config, rest = _config_of(callbacks, run_id, stop, kwargs)
        return _as_result(await self.abatch([*messages], config, **rest))

    @override
    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        callbacks = None if run_manager is None else run_manager.get_child()
        (generation,) = self.generate([messages], stop, callbacks, **kwargs).generations
        return ChatResult(generations=generation)

    @override
    def stream_events(self, input: Any, config: Any = None, *, version: Any = "v2", **kwargs: Any) -> Any:
        if version != "v3":
            return super().stream_events(input, config, version=version, **kwargs)
        (arm,) = self._arm_chooser(kwargs).invoke(input, _nameless(config))
        return arm.stream_events(input, config, version=version, **kwargs)

    @override
    def astream_events(self, input: Any, config: Any = None, *, version: Any = "v2", **kwargs: Any) -> Any:
        if version != "v3":
            return super().astream_events(input, config, version=version, **kwargs)
        return self._arm_events(input, config, **kwargs)

    async def _arm_events(self, input: Any, config: Any, **kwargs: Any) -> Any:
        (arm,) = await self._arm_chooser(kwargs).ainvoke(input, _nameless(config))
        return await arm.astream_events(input, config, version="v3", **kwargs)


def _nameless(config: RunnableConfig | None) -> RunnableConfig:
    """The config of a run beside the one that the caller has named."""
    config = ensure_config(config)
    config.pop("run_id", None)
    config.pop("run_name", None)
    return config


def _config_of(
    callbacks: Any, run_id: Any, stop: list[str] | None, kwargs: dict[str, Any]
) -> tuple[RunnableConfig, dict[str, Any]]:
    """The config in the arguments of `generate`, and the arguments that are left."""
    config = ensure_config(
        RunnableConfig(
            callbacks=callbacks, tags=kwargs.pop("tags", None) or [], metadata=kwargs.pop("metadata", None) or {}
        )
    )
    if (name := kwargs.pop("run_name", None)) is not None:
        config["run_name"] = name
    if run_id is not None:
        config["run_id"] = run_id
    return config, kwargs if stop is None else {**kwargs, "stop": stop}


def _as_result(messages: list[Any]) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=message)] for message in messages])
