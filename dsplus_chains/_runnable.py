"""`BatchRunnable`: a Runnable whose batch path is the only path, so that one batch is one model call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_config_list, merge_configs, run_in_executor
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.runnables.utils import AddableDict, AnyConfigurableField
from pydantic import ConfigDict
from typing_extensions import override

Input = TypeVar("Input")
Output = TypeVar("Output")
Managers = list[CallbackManagerForChainRun]
AsyncManagers = list[AsyncCallbackManagerForChainRun]
Configs = list[RunnableConfig]

_NOTHING = object()


class BatchRunnable(RunnableSerializable[Input, Output]):
    """A Runnable that is written once, as `_run` over a batch; every other way to call it comes from that.

    `invoke` is a batch of one. The asynchronous paths run `_run` in a thread; a subclass whose work is I/O
    overrides `_arun`. A subclass that yields piecemeal overrides `_run_stream` (and `_arun_stream`).

    Each row of a batch has a run manager (for child runs and events) and a config of its own. A row that fails is
    returned as the exception, so that it fails alone; LangChain then raises the first one or, under
    `return_exceptions=True`, hands them all over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    run_type: ClassVar[str | None] = None
    """What tracers call such a run: "chain" if None, else "prompt", "parser", …"""

    input_type: ClassVar[Any] = None
    """What goes in, for schemas; None if it is what the class is parametrised with."""
    output_type: ClassVar[Any] = None
    """What comes out, likewise."""

    @property
    @override
    def InputType(self) -> Any:
        return super().InputType if self.input_type is None else self.input_type

    @property
    @override
    def OutputType(self) -> Any:
        return super().OutputType if self.output_type is None else self.output_type

    @abstractmethod
    def _run(
        self, inputs: list[Input], run_manager: Managers, config: Configs, **kwargs: Any
    ) -> list[Output | Exception]:
        """Answer a batch: as many results as inputs, in order, an exception where a row failed.

        Arguments that a chain was called with (`stop=...`) reach whoever has a model to hand them to; the others
        ignore them, as LangChain's own Runnables do.
        """

    async def _arun(
        self, inputs: list[Input], run_manager: AsyncManagers, config: Configs, **kwargs: Any
    ) -> list[Output | Exception]:
        managers = [manager.get_sync() for manager in run_manager]
        return await run_in_executor(None, self._run, inputs, managers, config, **kwargs)

    def _run_stream(
        self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Output]:
        yield _whole(self._run([value], [run_manager], [config], **kwargs)[0])

    async def _arun_stream(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Output]:
        yield _whole((await self._arun([value], [run_manager], [config], **kwargs))[0])

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
        return self._batch_with_config(
            self._run, inputs, config, return_exceptions=return_exceptions, run_type=self.run_type, **kwargs
        )

    @override
    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        return await self._abatch_with_config(
            self._arun, inputs, config, return_exceptions=return_exceptions, run_type=self.run_type, **kwargs
        )

    @override
    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Output]:
        yield from self.transform(iter([input]), config, **kwargs)

    @override
    async def astream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Output]:
        async def one() -> AsyncIterator[Input]:
            yield input

        async for chunk in self.atransform(one(), config, **kwargs):
            yield chunk

    @override
    def transform(
        self, input: Iterator[Input], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Output]:
        yield from self._transform_stream_with_config(input, self._transform, config, run_type=self.run_type, **kwargs)

    @override
    async def atransform(
        self, input: AsyncIterator[Input], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        async for chunk in self._atransform_stream_with_config(
            input, self._atransform, config, run_type=self.run_type, **kwargs
        ):
            yield chunk

    def _transform(
        self, chunks: Iterator[Input], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Output]:
        value: Any = _NOTHING
        for chunk in chunks:
            value = add_chunks(value, chunk)
        if value is not _NOTHING:
            yield from self._run_stream(value, run_manager, config, **kwargs)

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
            async for out in self._arun_stream(value, run_manager, config, **kwargs):
                yield out

    @override
    def configurable_fields(self, **kwargs: AnyConfigurableField) -> BatchConfigurableFields[Input, Output]:
        super().configurable_fields(**kwargs)  # refuses what is no field
        return BatchConfigurableFields(default=self, fields=kwargs)


class BatchConfigurableFields(RunnableConfigurableFields[Input, Output]):
    """LangChain's configurable fields, batched.

    `RunnableConfigurableFields.batch` falls back to one `invoke` an item once a value is passed in the config. Here
    rows with equal values form one batch.
    """

    def _groups(self, configs: Configs) -> list[tuple[Any, list[int], Configs]]:
        """The configured Runnable, the row numbers and the rows' configs, for each set of values."""
        ids = [field.id for field in self.fields.values()]
        rows: dict[Any, list[int]] = {}
        merged = [merge_configs(self.config, config) for config in configs]
        for row, config in enumerate(merged):
            values = config.get("configurable", {})
            key = tuple(_identity(values[i]) if i in values else None for i in ids)
            rows.setdefault(key, []).append(row)
        return [
            (self.prepare(configs[members[0]])[0], members, [merged[row] for row in members])
            for members in rows.values()
        ]

    @override
    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        results: dict[int, Output] = {}
        for runnable, rows, configs in self._groups(get_config_list(config, len(inputs))):
            answers = runnable.batch(
                [inputs[row] for row in rows], configs, return_exceptions=return_exceptions, **kwargs
            )
            results.update(zip(rows, answers, strict=True))
        return [results[row] for row in range(len(inputs))]

    @override
    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        results: dict[int, Output] = {}
        for runnable, rows, configs in self._groups(get_config_list(config, len(inputs))):
            answers = await runnable.abatch(
                [inputs[row] for row in rows], configs, return_exceptions=return_exceptions, **kwargs
            )
            results.update(zip(rows, answers, strict=True))
        return [results[row] for row in range(len(inputs))]


def _identity(value: Any) -> Any:
    """What tells one configured value from another: plain values by what they are, objects by which they are."""
    if isinstance(value, dict):
        return tuple((_identity(key), _identity(item)) for key, item in value.items())
    return (type(value), value) if value is None or isinstance(value, (str, int, float)) else id(value)


def by_row(function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
    """What a function makes of each input, or the error that it raised: one bad row fails alone."""
    results: list[Any] = []
    for value in inputs:
        try:
            results.append(function(value))
        except Exception as error:
            results.append(error)
    return results


def add_chunks(total: Any, chunk: Any) -> Any:
    """Add a chunk of a stream to what came before, as LangChain does: what cannot be added replaces."""
    if total is _NOTHING:
        return chunk
    try:
        return total + chunk
    except TypeError:
        return chunk


def _whole(result: Any) -> Any:
    """The one result of a stream that does not come in pieces."""
    if isinstance(result, Exception):
        raise result
    return AddableDict(result) if type(result) is dict else result
