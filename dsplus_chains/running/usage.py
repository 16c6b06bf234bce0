"""The cost of the chat model calls under one run.

It also shows how sure the last call was, and whether any call was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config
from typing_extensions import override

from dsplus_chains.running.endings import is_cut_off
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.logprobs import told_confidence
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import LargeAnswer, describe_error

NO_STREAM = "nostream"
"""The tag of LangGraph for runs whose messages are not streamed."""


class UsageCollector(BaseCallbackHandler):
    """Counts all chat model calls under one run, and their tokens.

    The tokens are None as soon as one call does not report its own. The collector also keeps how sure the last call was
    of its answer, where the provider reports it, and the reason, if one was asked for. It also knows whether any call
    was answered.

    LangChain's own `UsageMetadataCallbackHandler` groups by model name. It drops the tokens of a message that does not
    name its model.
    """

    run_inline = True  # no thread hop for an addition
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self) -> None:
        self._total: UsageMetadata | None = None
        self._untold = False
        self._failed = 0
        self._error: BaseException | None = None
        self._asked: dict[Any, Any] = {}
        self.calls = 0
        """The number of calls that were begun, failed ones included."""
        self.confidence: float | None = None
        """The probability of the last call's message. None if its provider does not report it."""
        self.rationale: str | None = None
        """The reason that came with the last label, if one was asked for."""
        self.cut_off = False
        """Whether the last call's message was cut off, as far as its provider reports it."""
        self._lock = ForkLock()

    @property
    def usage(self) -> UsageMetadata | None:
        """The tokens of all calls so far. None if there was no call, or one that did not report its own."""
        return None if self._untold else self._total

    @property
    def failure(self) -> str | None:
        """The last error, if calls were begun and all of them failed. Then no model said whatever came out."""
        return describe_error(self._error) if self._error is not None and self._failed == self.calls else None

    @property
    def source(self) -> str | None:
        """Who has spoken, as in the record's `source`.

        It is "fallback" if every call failed, and None if there was no call.
        """
        return None if not self.calls else "large" if self.failure is None else "fallback"

    def answer(self, value: Any) -> LargeAnswer:
        """What the large model has said, with what its calls tell of it.

        A cut answer is no label, and `LabelParser` raises. A free text is kept as far as it goes, and that is told.
        """
        if self.cut_off:
            tell_once(
                "An answer of the large model was cut off, and is kept as it came; allow more tokens (max_tokens)"
            )
        return LargeAnswer(
            value=value,
            confidence=self.confidence,
            usage=self.usage,
            rationale=self.rationale,
            cut_off=self.cut_off,
        )

    def add(self, other: UsageCollector) -> None:
        """Count the tokens of another run as well. Its number of calls is not added."""
        with self._lock:
            self._untold |= other._untold
            self._total = add_usage(self._total, other._total) if self._total or other._total else None

    def add_told(self, usage: UsageMetadata | None, calls: int) -> None:
        """Count the tokens of calls that were made earlier. None with calls: one did not report its own."""
        with self._lock:
            self._untold |= usage is None and calls > 0
            self._total = add_usage(self._total, usage) if self._total or usage else None

    def share(self, usage: UsageMetadata | None, calls: int) -> None:
        """Count a share of what calls have cost that were made for several rows."""
        self.add_told(usage, calls)
        with self._lock:
            self.calls += calls

    def explain(self, reason: str) -> None:
        """Keep the reason that came with a label. The message's probability is then not that of the label."""
        with self._lock:
            self.rationale, self.confidence = reason, None

    def repeat(self, other: UsageCollector) -> None:
        """Take over what another run was told, at no cost. Its calls were made once for both."""
        with self._lock:
            self.calls, self._failed, self._error = other.calls, other._failed, other._error
            self.confidence, self.rationale = other.confidence, other.rationale
            self.cut_off = other.cut_off
            if other.calls:
                self._total = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)

    @override
    def on_chat_model_start(self, *_args: Any, run_id: UUID, **told: Any) -> None:
        asked = told.get("invocation_params") or {}
        with self._lock:
            self.calls += 1
            self._asked[run_id] = asked.get("model") or asked.get("model_name")

    @override
    def on_llm_start(self, *_args: Any, **_kwargs: Any) -> None:
        with self._lock:
            self.calls += 1

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID | None = None, **_kwargs: Any) -> None:
        with self._lock:
            self._asked.pop(run_id, None)
            self._failed += 1
            self._error = error

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID | None = None, **_kwargs: Any) -> None:
        asked = self._asked.pop(run_id, None)
        for generations in response.generations:
            for generation in generations[:1]:  # further candidates share the call and usage of the first
                message = generation.message if isinstance(generation, ChatGeneration) else None
                told = message.usage_metadata if isinstance(message, AIMessage) else None
                if isinstance(message, AIMessage):
                    _check_model(asked, message.response_metadata.get("model_name"))
                with self._lock:
                    self.confidence = told_confidence(message)
                    self.cut_off = message is not None and is_cut_off(message)
                    if told is None:
                        self._untold = True
                    else:
                        self._total = add_usage(self._total, _tokens(told))


def _check_model(asked: Any, said: Any) -> None:
    """Tell where a provider has answered by another model than it was asked for, as some do silently.

    The name may be given more precisely: "gpt-4o-mini" is answered by "gpt-4o-mini-2024-07-18".
    """
    if not isinstance(asked, str) or not isinstance(said, str) or not asked or not said:
        return
    one, other = asked.casefold(), said.casefold()
    if one not in other and other not in one:
        tell_once(f"The model {asked!r} was asked but {said!r} has answered", "model", asked, said)


def _tokens(told: Mapping[str, Any]) -> UsageMetadata:
    """The tokens that a message reports.

    An answer from LangChain's cache may report only that it cost nothing.
    """
    counts: dict[str, Any] = {name: told.get(name) or 0 for name in ("input_tokens", "output_tokens", "total_tokens")}
    details = {name: told[name] for name in ("input_token_details", "output_token_details") if told.get(name)}
    return cast("UsageMetadata", {**counts, **details})


def traced(config: RunnableConfig, run_manager: Any, tag: str, *, drafts: bool = False) -> RunnableConfig:
    """The config of a child run for one row, traced under `run_manager`. See `as_drafts`."""
    child = patch_config(config, callbacks=run_manager.get_child(tag))
    return as_drafts(child) if drafts else child


def as_drafts(config: RunnableConfig) -> RunnableConfig:
    """The config of a run whose chat models write drafts. A graph that streams messages shows none of them."""
    return {**config, "tags": [*(config.get("tags") or []), NO_STREAM]}


def traced_each(
    configs: Sequence[RunnableConfig], managers: Sequence[Any], tag: str, *, drafts: bool = False
) -> list[RunnableConfig]:
    """The configs of child runs, one for each row. Rows that share a config and a run manager share the child."""
    made: dict[tuple[int, int], RunnableConfig] = {}
    for config, manager in zip(configs, managers, strict=True):
        if (id(config), id(manager)) not in made:
            made[id(config), id(manager)] = traced(config, manager, tag, drafts=drafts)
    return [made[id(config), id(manager)] for config, manager in zip(configs, managers, strict=True)]


def watched(
    config: RunnableConfig, run_manager: Any, tag: str, collector: UsageCollector, *more: BaseCallbackHandler
) -> RunnableConfig:
    """The config of a run for one row, traced under `run_manager`. Its tokens go to the collector, and to others."""
    callbacks = run_manager.get_child(tag)
    for handler in (collector, *more):
        callbacks.add_handler(handler)
    return patch_config(config, callbacks=callbacks)
