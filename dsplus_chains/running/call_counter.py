"""`CallCounter` stands in for a large model, to foretell the calls that it would get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr
from typing_extensions import override


class CallCounter(BaseChatModel):
    """A chat model that asks nobody. It replies as it is told, and counts calls and tokens.

    A chain that runs with it makes the calls that it would make with a real model, if no reply has to be asked for
    again. The tokens are an estimate from the length of the messages, by LangChain's `count_tokens_approximately`.

    Args:
        reply: The reply to all, such as a label. Or a function from the text of the last message to the reply.

    Example:
        >>> model = CallCounter(reply="positive")
        >>> model.invoke("It works. Which sentiment?").text, model.calls, model.tokens
        ('positive', 1, 19)
    """

    reply: str | Callable[[str], str]
    _tokens: list[int] = PrivateAttr(default_factory=list)

    @property
    def calls(self) -> int:
        """Number of calls so far."""
        return len(self._tokens)

    @property
    def tokens(self) -> int:
        """About how many tokens the calls so far would have taken, replies included."""
        return sum(self._tokens)

    @property
    @override
    def _llm_type(self) -> str:
        return "call-counter"

    @override
    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        reply = self.reply(str(messages[-1].content)) if callable(self.reply) else self.reply
        asked, replied = count_tokens_approximately(messages), count_tokens_approximately([AIMessage(reply)])
        self._tokens.append(asked + replied)
        usage = {"input_tokens": asked, "output_tokens": replied, "total_tokens": asked + replied}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply, usage_metadata=usage))])
