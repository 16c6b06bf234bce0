"""`TextParser` reads an app's answer where answers are no labels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableConfig
from typing_extensions import override

from dsplus_chains.running.arm import EmptyAnswerError
from dsplus_chains.schema import WiringError, what_came


class TextParser(StrOutputParser):
    """LangChain's `StrOutputParser`, which says so where an answer is neither a text nor a message.

    Raises:
        WiringError: The answer is anything else, such as a dict.
        EmptyAnswerError: It is None.

    Example:
        >>> TextParser().invoke("Bern")
        'Bern'
    """

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")

    @override
    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return super().invoke(_readable(input), config, **kwargs)

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return await super().ainvoke(_readable(input), config, **kwargs)

    @override
    def _transform(self, input: Iterator[Any]) -> Iterator[str]:
        yield from super()._transform(map(_readable, input))

    @override
    async def _atransform(self, input: AsyncIterator[Any]) -> AsyncIterator[str]:
        async for chunk in super()._atransform(_readable(chunk) async for chunk in input):
            yield chunk


def _readable(answer: Any) -> str | BaseMessage:
    if isinstance(answer, (str, BaseMessage)):
        return answer
    if answer is None:
        msg = "the app answered None; its last step must return the answer"
        raise EmptyAnswerError(msg)
    msg = (
        f"Got {what_came(answer)} from the app but expected a text or a message. Let parser= read it; "
        "parser=RunnablePassthrough() takes it as it is"
    )
    raise WiringError(msg)
