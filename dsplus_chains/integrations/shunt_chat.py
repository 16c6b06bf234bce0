"""`ShuntChatModel` is a shunt wherever a chat model is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import Field, InstanceOf, SecretStr, model_validator
from typing_extensions import override

from dsplus_chains.gating.branch_graph import branch_graph
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_text import NoText, When
from dsplus_chains.integrations.chain_chat import ChainChatModel
from dsplus_chains.integrations.chat_arms import SaidShunt, SmallReply, wants_more, with_settings
from dsplus_chains.integrations.shunting import shunt
from dsplus_chains.integrations.small_message import as_message
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.budget import Budget
from dsplus_chains.running.flow import Configs, Flow, Manager, StreamFlow
from dsplus_chains.running.recorder import MaybeRecorder
from dsplus_chains.schema import Threshold, WiringError

LARGE_SETTINGS = (
    "temperature",
    "max_tokens",
    "stop",
    "max_retries",
    "api_key",
    "streaming",
    "cache",
    "rate_limiter",
    "disable_streaming",
    "output_version",
    "custom_get_token_ids",
)
"""The settings of any chat model that are handed to the large one."""

SHUNT_SETTINGS = (
    "threshold",
    "read",
    "labels",
    "when",
    "hints",
    "top_k",
    "shadow",
    "max_ood_score",
    "on_large_error",
    "on_arm_bug",
    "timeout",
    "deadline",
    "breaker",
    "budget",
    "experience",
)
"""The settings that mean what they mean for `shunt`."""


class ShuntChatModel(ChainChatModel):
    """A chat model that answers by a small model where that is sure, and by a large chat model elsewhere.

    The small model reads the last human turn. The large model gets the whole conversation, as it came. It answers alone
    where the conversation ends with no human turn, or holds an image or a file. It also does so where a call asks for
    what a small model cannot give, such as tools. `bind_tools` and `with_structured_output` are the large model's own.

    The run of this model is a chain. Each answer is a chat model's run in it, of the large model or of a tiny one. So
    tokens and chunks are counted once. An answer of the small model costs 0 tokens. The event
    "dsplus_decision", `decisions` and tags tell who answered, as for `AppShunt`.

    A stream of version "v3" is the stream of the arm that is chosen. Hints and fallbacks are not in it. With a
    limit or a budget it is refused.

    Args:
        large: The chat model. It may have a config, arguments, retries or fallbacks of its own.
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        threshold: Confidence from which on the small model answers. It may be a dict by label.
        labels: The labels. By default they are the scorer's own.
        reply: What is said for a label, as a dict by label or a function. It is a text or a message. By default it is
            the label itself.
        read: Which label a message of the large model stands for; see `shunt`, as for the arguments down to `budget`.
        when: Whether the small model may answer every turn of a conversation, or only the first one.
        hints: With "system" the large model is told the small model's view, in a system message.
        top_k: Largest number of labels in a hint.
        shadow: With True the large model always answers.
        max_ood_score: Largest distance from the training examples.
        on_large_error: What happens if the large model fails.
        on_arm_bug: What happens if your own code in it has a bug.
        timeout: Seconds that the large model has for one conversation.
        deadline: Seconds that it has for all conversations of a batch.
        breaker: What stops asking a model that keeps failing.
        budget: What the large model may spend.
        experience: What keeps each decision, such as an `ExperienceStore`. A stream of version "v3" tells it none.
        temperature: A setting of the large model, as `max_tokens`, `stop`, `max_retries`, `api_key`, `streaming`,
            `cache`, `rate_limiter`, `disable_streaming`, `output_version` and `custom_get_token_ids`. Where one is
            given, `large` becomes a copy that has it.

    Raises:
        ValueError: No threshold is given, or two labels have one reply.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from dsplus_chains import Prediction
        >>> def small(text):
        ...     return Prediction(label="refund", confidence=0.97 if "money" in text else 0.4)
        >>> model = ShuntChatModel(
        ...     large=FakeListChatModel(responses=["Where did you buy it?"]),
        ...     scorer=small,
        ...     threshold=0.9,
        ...     reply={"refund": "You get your money back within 14 days."},
        ... )
        >>> [message.text for message in model.batch(["I want my money", "It is broken"])]
        ['You get your money back within 14 days.', 'Where did you buy it?']
    """

    large: Runnable[Any, Any]
    scorer: Any
    threshold: Threshold = None
    labels: Sequence[Any] | None = None
    reply: Mapping[Any, Any] | Callable[[Any], Any] | None = None
    read: Any = "auto"
    when: When = "each_turn"
    hints: Literal["none", "system"] = "none"
    top_k: int = Field(default=5, ge=1)
    shadow: bool = False
    max_ood_score: float | None = Field(default=None, ge=0)
    on_large_error: Literal["small", "raise"] = "small"
    on_arm_bug: Literal["raise", "small"] = "raise"
    timeout: float | None = Field(default=None, gt=0)
    deadline: float | None = Field(default=None, gt=0)
    breaker: InstanceOf[CircuitBreaker] | None = None
    budget: InstanceOf[Budget] | None = None
    experience: MaybeRecorder = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    max_retries: int | None = Field(default=None, ge=0)
    streaming: bool | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _large_has_the_settings(cls, given: Any) -> Any:
        """Hand the settings to the large model, and know what it can do."""
        if not isinstance(given, dict):
            return given
        large = given.get("large")
        default = {name: cls.model_fields[name].default for name in LARGE_SETTINGS}
        settings = {name: given[name] for name in LARGE_SETTINGS if given.get(name) not in (None, default[name])}
        if settings and isinstance(large, BaseChatModel):
            large = with_settings(large, settings)
        elif settings and isinstance(large, Runnable):
            msg = (
                f"Got {sorted(settings)} beside a {type(large).__name__}, but only a bare chat model can be given "
                "settings. Give them to the chat model inside of it"
            )
            raise ValueError(msg)
        known = {"profile": getattr(large, "profile", None), **given, "large": large}
        return {**known, "metadata": dict(given.get("metadata") or {})}

    @model_validator(mode="after")
    def _all_labels_can_be_said(self) -> Self:
        _ = self._shunt  # it is built now, so that what is wrong is told now
        return self

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy. With other fields it is made anew, since the large model and the shunt follow from them."""
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        held = {name: getattr(copied, name) for name in copied.model_fields_set}
        if held.get("profile") == getattr(copied.large, "profile", None):
            held.pop("profile", None)  # it follows from the large model too
        return type(self)(**{**held, **update})

    @cached_property
    def _shunt(self) -> SaidShunt:
        """The shunt around the large model."""
        settings = {name: getattr(self, name) for name in SHUNT_SETTINGS}
        made = shunt(self.large, self.scorer, text=self._conversation, output=_replies(self.reply), **settings)
        small = SmallReply(write=made.write, output_version=self.output_version)
        return SaidShunt(**{**_parts(made), "small": small})

    @cached_property
    def _large_alone(self) -> SaidShunt:
        """The same shunt, for calls that only the large model can answer."""
        return SaidShunt(**{**_parts(self._shunt), "text": _not_judged})

    @property
    def _large(self) -> Any:
        """The large model, whatever kind of Runnable it is. Bindings and fallbacks know a chat model's methods too."""
        return self.large

    def _conversation(self, value: Any) -> list[BaseMessage] | NoText:
        return self._convert_input(value).to_messages() or NoText("the conversation is empty")

    def _asked(self, kwargs: Mapping[str, Any]) -> SaidShunt:
        return self._large_alone if wants_more(self.large, kwargs) else self._shunt

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        return (yield from self._asked(kwargs)._flow(inputs, run_manager, config, **kwargs))

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        yield from self._asked(kwargs)._stream_flow(value, run_manager, config, **kwargs)

    @override
    def _arm_chooser(self, kwargs: Mapping[str, Any]) -> Runnable[Any, list[Any]]:
        if kept := [name for name in ("timeout", "deadline", "breaker", "budget") if getattr(self, name) is not None]:
            msg = (
                f'Got a stream of version "v3" from a model with {", ".join(kept)}, which such a stream would not keep '
                'to; use version="v2", or a model without'
            )
            raise WiringError(msg)
        parts, small = _parts(self._asked(kwargs)), self._shunt.small
        arms = {"large": RunnableLambda(lambda _: [self.large]), "write": lambda label: [small.bind(label=label)]}
        del parts["small"]
        return AppShunt(**{**parts, **arms, "read": lambda _: None, "hint": None, "experience": None})

    @override
    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, Any]:
        """The large model with the tools bound to it."""
        chosen = {} if tool_choice is None else {"tool_choice": tool_choice}
        bound: Runnable[Any, Any] = self._large.bind_tools(tools, **chosen, **kwargs)
        return bound

    @override
    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """The large model with the structure of its output."""
        structured: Runnable[Any, Any] = self._large.with_structured_output(schema, **kwargs)
        return structured

    @override
    def get_token_ids(self, text: str) -> list[int]:
        ids: list[int] = self._large.get_token_ids(text)
        return ids

    @override
    def get_num_tokens(self, text: str) -> int:
        return int(self._large.get_num_tokens(text))

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        return int(self._large.get_num_tokens_from_messages(messages, **({} if tools is None else {"tools": tools})))

    @property
    @override
    def _llm_type(self) -> str:
        return "dsplus_chains"

    @property
    @override
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"large": getattr(self.large, "_identifying_params", {}), "threshold": self.threshold}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        told: LangSmithParams = self._large._get_ls_params(stop=stop, **kwargs)
        return told if "ls_model_name" in told else {**told, "ls_model_name": type(self.large).__name__}

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.large.config_specs

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return branch_graph(self, self.large, config)


def _parts(shunted: AppShunt) -> dict[str, Any]:
    return {name: getattr(shunted, name) for name in type(shunted).model_fields}


def _replies(reply: Any) -> Any:
    """The messages by label, or the function from a label to its message."""
    if isinstance(reply, Mapping):
        return {label: as_message(said) for label, said in reply.items()}
    return partial(_reply, reply)


def _reply(reply: Callable[[Any], Any] | None, label: Any) -> AIMessage:
    return as_message(label if reply is None else reply(label))


def _not_judged(value: Any) -> NoText:
    del value
    return NoText("the call asks for what only the large model can give")
