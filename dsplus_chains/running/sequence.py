"""`QuietSequence` is LangChain's sequence of steps, without its runs where nobody hears them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun
from langchain_core.runnables import RunnableConfig, RunnableSequence
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.config import patch_config, var_child_runnable_config
from langchain_core.runnables.utils import Input, Output
from typing_extensions import override

from dsplus_chains.running.drivers import adrive, drive
from dsplus_chains.running.flow import Do, Flow, wrong_size
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.unheard import Unheard, knows_unheard, unheard


class Piped:
    """A Runnable that becomes a `QuietSequence` where others are joined to it. A stream of it is closed at once."""

    def __or__(self, other: Any) -> QuietSequence[Any, Any]:
        return _joined(self, other)

    def __ror__(self, other: Any) -> QuietSequence[Any, Any]:
        return _joined(other, self)

    def pipe(self, *others: Any, name: str | None = None) -> QuietSequence[Any, Any]:
        """This Runnable and others, one after the other."""
        return QuietSequence(self, *others, name=name)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """The chunks of the output. Who closes the stream closes at once what is inside of it."""

        async def one() -> AsyncIterator[Any]:
            yield input

        own: Any = self
        async with aclosing(own.atransform(one(), config, **kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk


@knows_unheard
class QuietSequence(Piped, RunnableSequence[Input, Output]):
    """Steps one after the other. ``scorer | branch`` is one.

    It is LangChain's `RunnableSequence` in all that can be seen, such as its name in a trace. Where nobody hears its
    runs, there are none. They would cost more than a row that is kept.
    """

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")

    @override
    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        return super().get_name(suffix, name=name or self.name or RunnableSequence.__name__)

    def __init__(self, *steps: Any, name: str | None = None, **parts: Any) -> None:
        super().__init__(*steps, name=name, **parts)

    def _one(self, value: Any, quiet: Unheard, kwargs: dict[str, Any]) -> Flow:
        """One input, step by step.

        Each step has a copy of the context, as in LangChain. What it sets there is not seen outside. What it calls
        without a config gets that of the chain.
        """
        for number, step in enumerate(self.steps):
            how = {} if number else kwargs
            context = copy_context()
            context.run(var_child_runnable_config.set, quiet.configs[0])
            given = value, quiet.config_for(step, [0])
            value = yield Do(
                partial(context.run, step.invoke, **how), partial(_task, context, step.ainvoke, **how), given
            )
        return value

    def _all(self, inputs: list[Any], quiet: Unheard, return_exceptions: bool, kwargs: dict[str, Any]) -> Flow:
        """A batch, step by step. A row that has failed goes no further."""
        results, rows = list(inputs), list(range(len(inputs)))
        for number, step in enumerate(self.steps):
            how = {"return_exceptions": return_exceptions, **({} if number else kwargs)}
            given = [results[row] for row in rows], quiet.config_for(step, rows)
            try:
                outputs = yield Do(partial(step.batch, **how), partial(step.abatch, **how), given)
                if len(outputs) != len(rows):
                    raise wrong_size(len(rows), len(outputs))
            except Exception as error:
                if not return_exceptions:
                    raise
                outputs = [error] * len(rows)
            for row, output in zip(rows, outputs, strict=True):
                results[row] = output
            rows = [row for row in rows if not isinstance(results[row], Exception)]
            if not rows:
                break
        return results

    @override
    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        quiet = unheard(config, 1, awaits=False)
        if quiet is None:
            return super().invoke(input, config, **kwargs)
        output: Output = drive(self._one(input, quiet, kwargs))
        return output

    @override
    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        quiet = unheard(config, 1, awaits=True)
        if quiet is None:
            return await super().ainvoke(input, config, **kwargs)
        output: Output = await adrive(self._one(input, quiet, kwargs))
        return output

    @override
    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        quiet = unheard(config, len(inputs), awaits=False)
        outputs: list[Output]
        if quiet is None:
            outputs = super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        else:
            outputs = drive(self._all(inputs, quiet, return_exceptions, kwargs))
        raise_interrupts(outputs)
        return outputs

    @override
    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        quiet = unheard(config, len(inputs), awaits=True)
        outputs: list[Output]
        if quiet is None:
            outputs = await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        else:
            outputs = await adrive(self._all(inputs, quiet, return_exceptions, kwargs))
        raise_interrupts(outputs)
        return outputs

    @override
    async def atransform(
        self, input: AsyncIterator[Input], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        named = patch_config(config, run_name=(config or {}).get("run_name") or self.name)
        chunks: Any = self._atransform_stream_with_config(input, self._atransform, named, **kwargs)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    @override
    async def _atransform(
        self,
        inputs: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        chunks: Any = inputs
        async with AsyncExitStack() as opened:
            for number, step in enumerate(self.steps):
                child = patch_config(config, callbacks=run_manager.get_child(f"seq:step:{number + 1}"))
                chunks = step.atransform(chunks, child, **({} if number else kwargs))
                opened.push_async_callback(_close, chunks)
            async for chunk in chunks:
                yield chunk


async def _close(chunks: Any) -> None:
    """Close a stream, unless a task of LangChain still waits for its next chunk, as `assign` leaves one when cancelled.

    Such a stream can't be closed. It ends with that task.
    """
    if hasattr(chunks, "aclose") and not getattr(chunks, "ag_running", False):
        await chunks.aclose()


async def _task(context: Context, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """The result of an asynchronous function that runs in a context of its own."""
    return await asyncio.create_task(function(*args, **kwargs), context=context)


def _joined(first: Any, then: Any) -> QuietSequence[Any, Any]:
    """Two steps or sequences as one sequence, with the name of the first sequence that has one."""
    steps = coerce_to_runnable(first), coerce_to_runnable(then)
    names = [step.name for step in steps if isinstance(step, RunnableSequence) and step.name]
    return QuietSequence(*steps, name=names[0] if names else None)
