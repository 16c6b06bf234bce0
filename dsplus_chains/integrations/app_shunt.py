"""`AppShunt` is a shunt around an app: what goes in and comes out is what went in and came out without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec
from typing_extensions import override

from dsplus_chains.gating.branch_graph import branch_graph
from dsplus_chains.gating.gate import DECISION_EVENT, Gate
from dsplus_chains.gating.large_call import LargeCall
from dsplus_chains.integrations.app_hints import HINTS_KEY
from dsplus_chains.integrations.app_text import NoText
from dsplus_chains.integrations.small_answer import SmallAnswer
from dsplus_chains.integrations.small_message import as_chunk
from dsplus_chains.running.answer_stream import UNFINISHED, unfinished
from dsplus_chains.running.arm import ANSWER_KEYS, without_answer
from dsplus_chains.running.batch_runnable import add_chunks, by_row
from dsplus_chains.running.flow import Ask, Chunk, Closed, Configs, Flow, Manager, Next, StreamFlow, Tell
from dsplus_chains.running.pulled_stream import END
from dsplus_chains.running.recorder import hand_over
from dsplus_chains.running.telling import tell_once
from dsplus_chains.running.usage import traced, traced_each
from dsplus_chains.schema import BudgetError, InvalidInputError, Prediction, ShuntRecord, describe_error
from dsplus_chains.scoring.coercing import scored_input


class AppShunt(Gate):
    """A small model before an app. It takes what the app takes, and returns what the app returns.

    The app gets the very object that the shunt was called with, and its output is handed on as it is. `shunt` makes
    one. Who answered is told by the event "dsplus_decision", by `decisions`, by the tags of the child runs
    (`dsplus:small`, `dsplus:large`, `dsplus:fallback`), and by the record where `with_record` asks for it.

    Args:
        large: The app.
        scorer: The small model. One that works on the record (`BaseScorer.reads_record`) also gets the keys of a dict.
        text: The function from an input to the text that the small model reads.
        write: The function from a label to the app's output.
        read: The function from the app's output to a label.
        hint: The function from a prediction to a hint. None gives the app no hints.
        shadow: Whether the app always answers, and the small model is only listened to.
        with_record: Whether the output is the record. Its `answer` is the app's output.
        experience: What keeps each decision, such as an `ExperienceStore`. It gets the record.
    """

    takes_record: ClassVar[bool] = False

    scorer: Runnable[Any, Any]
    text: Callable[[Any], str | NoText]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    hint: Callable[[Prediction], str] | None = None
    shadow: bool = False
    with_record: bool = False
    ask_once: bool = False

    @property
    def _app(self) -> Runnable[Any, Any]:
        """The app without a shunt."""
        return self.large

    @property
    @override
    def InputType(self) -> Any:
        return self._app.InputType

    @property
    @override
    def OutputType(self) -> Any:
        return ShuntRecord if self.with_record else self._app.OutputType

    @override
    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        return self._app.get_input_schema(config)

    @override
    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        return super().get_output_schema(config) if self.with_record else self._app.get_output_schema(config)

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self._app.config_specs

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return branch_graph(self, self._app, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, kept, calls = yield from self._decide(inputs, run_manager, config)
        if calls:
            kept = [*kept, *self._large(results, calls, (yield from self._heard(calls, kwargs)))]
        yield from self._small(results, kept, run_manager, config)
        yield from self._count(run_manager, calls, results)
        for row, manager in enumerate(run_manager):
            if not isinstance(results[row], Exception):
                yield from self._tell(manager, results[row])
                results[row] = results[row] if self.with_record else results[row]["answer"]
        return results

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        results, kept, calls = yield from self._decide([value], [run_manager], [config])
        yield from self._small(results, kept, [run_manager], [config])
        if isinstance(results[0], Exception):
            yield from self._count([run_manager], calls, results)
            raise results[0]
        pieces = _Pieces(wrapped=self.with_record)
        try:
            if self.with_record:
                yield Chunk(AddableDict(without_answer(results[0])))
            if calls:
                try:
                    yield from self._opened(calls[0], kwargs, pieces.flow)
                    results[0] = self._answered(calls[0], pieces.total)
                except Exception as error:
                    kept = self._large(results, calls, [error], started=pieces.started)
                    yield from self._small(results, kept, [run_manager], [config])
            if isinstance(results[0], Exception):
                yield from self._count([run_manager], calls, results)
                raise results[0]
            if self.with_record:
                left = {*ANSWER_KEYS} - ({"answer"} if pieces.started else set())
                yield Chunk(AddableDict({name: said for name, said in results[0].items() if name in left}))
            elif kept:
                yield from map(Chunk, self._pieces(results[0]["answer"], kwargs))
        except Closed:
            if calls and results[0] is calls[0].record:
                results[0] = {**results[0], "answer": pieces.total, "source": "large", **UNFINISHED}
            if not isinstance(results[0], Exception):
                yield from self._count([run_manager], calls, results)
                yield from self._tell(run_manager, results[0])
            raise
        yield from self._count([run_manager], calls, results)
        yield from self._tell(run_manager, results[0])

    def _decide(self, inputs: list[Any], run_manager: Any, config: Configs) -> Flow:
        """The record of each row or its error, the rows that the small model answers, and the calls of the app."""
        texts = by_row(self._text_of, inputs)
        read = [row for row, text in enumerate(texts) if isinstance(text, str)]
        children = traced_each([config[row] for row in read], [run_manager[row] for row in read], "small")
        scored = [scored_input(self.scorer, inputs[row], texts[row]) for row in read]
        asked = Ask(self.scorer, scored, children, managers=run_manager)
        results = [_unread(value, text) for value, text in zip(inputs, texts, strict=True)]
        for row, record in zip(read, (yield asked).outputs, strict=True):
            is_silent = self.shadow and isinstance(record, Exception)
            results[row] = _unread(texts[row], NoText(describe_error(record))) if is_silent else record
        kept, calls = list[int](), list[LargeCall]()
        for row, record in enumerate(results):
            if isinstance(record, Exception):
                continue
            if not self.shadow and self._is_sure(record):
                kept.append(row)
                results[row] = self._kept(record)
            else:
                asked_for = self._arm_input(inputs[row], record)
                call = self._call(row, record, asked_for, config[row], run_manager[row], "dsplus:large")
                calls.append(call._replace(config=self._told(call)))
        return results, kept, calls

    def _is_sure(self, record: dict[str, Any]) -> bool:
        """Whether the small model's answer may be the answer."""
        return self._keeps(record["prediction"])

    def _kept(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of a row that the small model answers."""
        return {**record, "answer": record["prediction"].value, "source": "small"}

    @override
    def _must_raise(self, refused: BudgetError | None) -> bool:
        return self.shadow or super()._must_raise(refused)  # in shadow mode the small model never answers

    def _arm_input(self, value: Any, record: dict[str, Any]) -> Any:
        """What the large arm is called with."""
        del record
        return value

    def _text_of(self, value: Any) -> str | NoText:
        try:
            return self.text(value)
        except Exception as error:
            if not self.shadow:
                raise
            why = describe_error(error)  # nothing that is wrong with the small model may cost the app's answer
            tell_once(f"The text of an app's input cannot be read: {why}")
            return NoText(why)

    def _told(self, call: LargeCall) -> RunnableConfig:
        """The config of the app's run, with who answers, and with the hint where the app takes one."""
        config = _marked(call.config, "large")
        if self.hint is None:
            return config
        return {
            **config,
            "configurable": {**config.get("configurable", {}), HINTS_KEY: self.hint(call.record["prediction"])},
        }

    def _large(
        self, results: list[Any], calls: list[LargeCall], outputs: list[Any], *, started: bool = False
    ) -> list[int]:
        """Put the app's outputs into their rows. The rows where the small model has to stand in."""
        failed = []
        for call, output in zip(calls, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                results[call.row] = self._answered(call, output)
            except Exception as error:
                try:
                    results[call.row] = {**call.record, **self._stand_in(call, error, started=started)}
                    failed.append(call.row)
                except Exception as unanswered:
                    results[call.row] = unanswered
        self._warn([results[row]["error"] for row in failed], len(calls))
        return failed

    def _answered(self, call: LargeCall, output: Any) -> dict[str, Any]:
        """The record of a row that the app has answered. Half of an answer teaches no label."""
        label = None if call.collector.cut_off else self._label_of(output)
        said = call.collector.answer(label)
        return {**call.record, "answer": output, "answer_label": label, "source": "large", "large": said}

    def _label_of(self, output: Any) -> Any:
        """The label that an output stands for. Whatever goes wrong here, the app's answer is the answer."""
        try:
            return self.read(output)
        except Exception as error:
            told = f"An output of the app cannot be read as a label: {describe_error(error)}"
            tell_once(told, "read", type(error).__name__)
            return None

    def _small(self, results: list[Any], rows: list[int], run_manager: Any, config: Configs) -> Flow:
        """Turn the small model's labels into outputs of the app."""
        configs = [
            _marked(traced(config[row], run_manager[row], f"dsplus:{results[row]['source']}"), results[row]["source"])
            for row in rows
        ]
        outputs = (yield self._writing([results[row] for row in rows], configs)).outputs
        for row, output in zip(rows, outputs, strict=True):
            failed = isinstance(output, Exception)
            label = results[row]["answer"]
            results[row] = output if failed else {**results[row], "answer": output, "answer_label": label}

    def _writing(self, records: list[dict[str, Any]], configs: Configs) -> Ask:
        """The request that turns the small model's answers into outputs of the app."""
        return Ask(SmallAnswer(write=self.write), [record["answer"] for record in records], configs)

    def _pieces(self, output: Any, _kwargs: Mapping[str, Any]) -> Iterable[Any]:
        """The small model's output as the chunks of a stream. A function alone streams whole messages."""
        is_message = isinstance(output, AIMessage) and not isinstance(self._app, RunnableLambda)
        return [as_chunk(output) if is_message else output]

    def _tell(self, manager: Any, record: dict[str, Any]) -> Flow:
        """Have the row's decision recorded, and send it if anybody listens."""
        if self.experience is not None:
            hand_over(self.experience, record)
        if manager.handlers:
            shadow = {"shadow": True, "would_keep": self._is_sure(record)} if self.shadow else {}
            event = {**self._event(record["prediction"], record["source"]), **shadow, **unfinished(record)}
            yield Tell(manager, DECISION_EVENT, {**event, **self._details(record), "record": record})

    def _details(self, record: dict[str, Any]) -> dict[str, Any]:
        """What else the event tells."""
        del record
        return {}


class _Pieces:
    """The chunks of an app's stream, and their sum."""

    def __init__(self, *, wrapped: bool) -> None:
        self.total: Any = None
        self.started = False
        self._wrapped = wrapped

    def flow(self, stream: Any, until: float | None) -> StreamFlow:
        """Hand on each chunk as it is, or as a part of the record."""
        while (piece := (yield Next(stream, until))) is not END:
            self.total = add_chunks(self.total, piece) if self.started else piece
            self.started = True
            yield Chunk(AddableDict(answer=piece) if self._wrapped else piece)


def _marked(config: RunnableConfig, source: str) -> RunnableConfig:
    """The config of a run whose metadata says who answers."""
    return {**config, "metadata": {**config.get("metadata", {}), "dsplus_source": source}}


def _unread(value: Any, text: Any) -> Any:
    """The record of a row that only the app may answer, or the error of one that has no text."""
    if isinstance(text, NoText):
        return {"input": value, "prediction": Prediction(label=None), "small_error": text.why}
    return text if isinstance(text, Exception) else InvalidInputError("not scored")
