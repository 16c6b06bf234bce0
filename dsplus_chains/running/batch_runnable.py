"""`BatchRunnable` is a Runnable with one path, the batch, so that one batch is one model call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from inspect import signature
from typing import Any, ClassVar, Self

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.utils import AddableDict, AnyConfigurableField, Input, Output
from pydantic import ConfigDict
from typing_extensions import override

from dsplus_chains.running.configurable import BatchConfigurableFields
from dsplus_chains.running.drivers import adrive, adrive_stream, drive, drive_stream
from dsplus_chains.running.flow import Chunk, Configs, Flow, Manager, StreamFlow, Work
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.sequence import Piped
from dsplus_chains.running.unheard import Unheard, knows_unheard, unheard
from dsplus_chains.schema import Dumpable, shown_record

_NOTHING = object()


@knows_unheard
class BatchRunnable(Piped, RunnableSerializable[Input, Output], Dumpable):
    """A Runnable that is written once, over a batch. Every other way to call it follows from that.

    A subclass says in `_flow` what is done with a batch. That is a generator, which yields requests and gets back their
    results. A subclass that yields its output in pieces has a `_stream_flow` as well. `invoke` is a batch of one.

    Each row of a batch has a config and a run manager of its own. The run manager is for child runs and events. A row
    that fails is returned as the exception, so that it fails alone. LangChain then raises the first exception. With
    `return_exceptions=True` it returns all of them.

    LangChain's `dumps` writes it by value; see `Dumpable`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    run_type: ClassVar[str | None] = None
    """The tracers' name for such a run, such as "prompt" or "parser". None means "chain"."""

    takes_record: ClassVar[bool] = True
    """Whether it works on the record of a chain. In a large arm it then gets the record."""

    reads_label: ClassVar[bool] = False
    """Whether its output is the label that a model has said."""

    input_type: ClassVar[Any] = None
    """The input type for schemas. None means the class's own type parameter."""
    output_type: ClassVar[Any] = None
    """The output type for schemas. None means the class's own type parameter."""

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy. With other fields, it derives anew what was derived from them."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            for name in copied.__dict__.keys() - type(copied).model_fields.keys():  # the cached properties
                del copied.__dict__[name]
        return copied

    @property
    @override
    def InputType(self) -> Any:
        return super().InputType if self.input_type is None else self.input_type

    @property
    @override
    def OutputType(self) -> Any:
        return super().OutputType if self.output_type is None else self.output_type

    @abstractmethod
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        """Answer a batch, with one result for each input, in order. A failed row's result is its exception.

        Args:
            inputs: One input for each row.
            run_manager: One run manager for each row, for child runs and events.
            config: One config for each row.
            **kwargs: The arguments of the chain's call (`stop=...`). A Runnable with a model passes them on. The others
                ignore them, as LangChain's own Runnables do.
        """

    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        """Answer one input piece by piece."""
        (result,) = yield from self._flow([value], [run_manager], [config], **kwargs)
        if isinstance(result, Exception):
            raise result
        yield Chunk(AddableDict(result) if type(result) is dict else result)

    def _quiet_flow(self, inputs: list[Any], quiet: Unheard, kwargs: dict[str, Any]) -> Flow:
        """The flow of a batch whose runs nobody hears."""
        return self._flow(inputs, quiet.managers, quiet.configs, **kwargs)

    def _settled(self, config: Any) -> Any:
        """The config of a call, or its rows' configs, with what the Runnable itself adds. Here that is nothing."""
        return config

    def _run(
        self, inputs: list[Input], run_manager: list[CallbackManagerForChainRun], config: Configs, **kwargs: Any
    ) -> list[Output | Exception]:
        results: list[Output | Exception] = drive(self._flow(inputs, [*run_manager], config, **kwargs))
        return _shown(results, inputs)

    async def _arun(
        self, inputs: list[Input], run_manager: list[AsyncCallbackManagerForChainRun], config: Configs, **kwargs: Any
    ) -> list[Output | Exception]:
        results: list[Output | Exception] = await adrive(self._flow(inputs, [*run_manager], config, **kwargs))
        return _shown(results, inputs)

    def _answer(self, inputs: list[Any], quiet: Unheard, return_exceptions: bool, kwargs: dict[str, Any]) -> Flow:
        """Answer a batch whose runs nobody hears, as LangChain does where somebody does."""
        try:
            results = yield from self._quiet_flow(inputs, quiet, kwargs)
        except Exception as error:
            if not return_exceptions:
                raise
            return [error] * len(inputs)
        failed = next((result for result in results if isinstance(result, Exception)), None)
        if failed is not None and not return_exceptions:
            raise failed
        return _shown(results, inputs)

    @override
    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        return self.batch([input], config, **kwargs)[0]

    @override
    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        return (await self.abatch([input], config, **kwargs))[0]

    @override
    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        settled = config if isinstance(config, Unheard) else self._settled(config)
        quiet = unheard(settled, len(inputs), awaits=False)
        outputs: list[Output]
        if quiet is not None:
            outputs = drive(self._answer(inputs, quiet, return_exceptions, kwargs))
        else:
            outputs = self._batch_with_config(
                _Signed(self._run),
                inputs,
                settled,
                return_exceptions=return_exceptions,
                run_type=self.run_type,
                **kwargs,
            )
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
        settled = config if isinstance(config, Unheard) else self._settled(config)
        quiet = unheard(settled, len(inputs), awaits=True)
        outputs: list[Output]
        if quiet is not None:
            outputs = await adrive(self._answer(inputs, quiet, return_exceptions, kwargs))
        else:
            outputs = await self._abatch_with_config(
                _Signed(self._arun),
                inputs,
                settled,
                return_exceptions=return_exceptions,
                run_type=self.run_type,
                **kwargs,
            )
        raise_interrupts(outputs)
        return outputs

    @override
    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Output]:
        yield from self.transform(iter([input]), config, **kwargs)

    @override
    def transform(
        self, input: Iterator[Input], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Output]:
        yield from self._transform_stream_with_config(
            input, self._transform, self._settled(config), run_type=self.run_type, **kwargs
        )

    @override
    async def atransform(
        self, input: AsyncIterator[Input], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        chunks: Any = self._atransform_stream_with_config(
            input, self._atransform, self._settled(config), run_type=self.run_type, **kwargs
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def _transform(
        self, chunks: Iterator[Input], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Output]:
        value: Any = _NOTHING
        for chunk in chunks:
            value = add_chunks(value, chunk)
        if value is not _NOTHING:
            yield from drive_stream(self._stream_flow(value, run_manager, config, **kwargs))

    async def _atransform(
        self,
        chunks: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        value: Any = _NOTHING
        async for chunk in chunks:
            value = add_chunks(value, chunk)
        if value is not _NOTHING:
            async with aclosing(adrive_stream(self._stream_flow(value, run_manager, config, **kwargs))) as pieces:
                async for piece in pieces:
                    yield piece

    @override
    def configurable_fields(self, **kwargs: AnyConfigurableField) -> BatchConfigurableFields[Input, Output]:
        super().configurable_fields(**kwargs)  # refuses names that are no field
        return BatchConfigurableFields(default=self, fields=kwargs)


class ComputingRunnable(BatchRunnable[Input, Output]):
    """A `BatchRunnable` that makes no calls and does all its work itself. Under async the work runs in a thread."""

    @abstractmethod
    def _compute(self, inputs: list[Any]) -> list[Any]:
        """Answer a batch, with one result for each input, in order. A failed row's result is its exception."""

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        return (yield Work(self._compute, (inputs,)))

    @override
    def _quiet_flow(self, inputs: list[Any], quiet: Unheard, kwargs: dict[str, Any]) -> Flow:
        return self._flow(inputs, [], [])  # makes no use of runs


class _Signed:
    """A method that is called with the rows' runs. LangChain reads its signature at each call, so it is kept."""

    __signature__ = signature(BatchRunnable._flow)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def _shown(results: list[Any], inputs: list[Any]) -> list[Any]:
    """The results as a notebook can show them. What was passed through stays the very object."""
    return [result if result is value else shown_record(result) for result, value in zip(results, inputs, strict=False)]


def by_row(function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
    """A function's result for each input, or the error it raised. One bad row fails alone."""
    results: list[Any] = []
    for value in inputs:
        try:
            results.append(function(value))
        except Exception as error:
            results.append(error)
    return results


def add_chunks(total: Any, chunk: Any) -> Any:
    """Add a chunk of a stream to the earlier ones, as LangChain does. A chunk that cannot be added replaces them."""
    if total is _NOTHING:
        return chunk
    try:
        return total + chunk
    except TypeError:
        return chunk
