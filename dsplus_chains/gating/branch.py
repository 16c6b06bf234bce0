"""`ConfidenceBranch` keeps the small model's answer where it is sure, and asks the large model elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec
from pydantic import BeforeValidator, Field, field_validator
from typing_extensions import override

from dsplus_chains.gating.branch_graph import branch_graph
from dsplus_chains.gating.gate import DECISION_EVENT, Gate
from dsplus_chains.gating.large_call import LargeCall
from dsplus_chains.running.answer_stream import AnswerStream, answer_flow, unfinished
from dsplus_chains.running.arm import input_of, leading_prompt, merge_answer, without_answer
from dsplus_chains.running.flow import Chunk, Closed, Configs, Flow, Manager, StreamFlow, Tell
from dsplus_chains.running.recorder import hand_over, recorded, recorded_stream
from dsplus_chains.schema import (
    DEFERRED,
    InvalidInputError,
    Prediction,
    ShuntRecord,
    WiringError,
    what_came,
)


def _arm(value: Any) -> Any:
    if isinstance(value, BaseLanguageModel):
        msg = (
            f"Got large={type(value).__name__}, a bare model, but expected a Runnable over the record: put a prompt "
            "before it (prompt | model | parser), or use data_shunt"
        )
        raise WiringError(msg)
    return coerce_to_runnable(value)


class ConfidenceBranch(Gate):
    """Keeps what the small model is sure of, and asks the large arm for the rest in one batch.

    It takes a record with `prediction`. It returns the record with `answer` and `source`. If the large arm was asked,
    the record also has `large`, with what the arm said and its tokens.

    The small model's answer is kept iff ``confidence >= threshold``. An unknown confidence is deferred.

    If the large arm fails, or its answer is no label, the small model's answer stands in. Then `source` is "fallback",
    and `error` gives the reason. An arm may have a fallback of its own (``with_fallbacks``). If all its model calls
    failed and the fallback answered, `source` is "fallback" too.

    In a stream, an error after the first chunk of the answer is raised. That chunk cannot be taken back. A stream that
    is closed before the large arm has ended is told too. Its event and its record say ``unfinished=True``.

    For each answered input the branch sends a custom event "dsplus_decision" to the callbacks. It holds `source`,
    `confidence`, `threshold` and `label`. The confidence and the label are the small model's. The threshold is the one
    that was applied. With `max_ood_score` the event also holds `ood_score`. Where the process uses OpenTelemetry, the
    current span gets `dsplus.source` and `dsplus.confidence` as attributes, and the counters `dsplus.decisions` and
    `dsplus.tokens` go up.

    Args:
        large: Runnable that answers the deferred inputs. Usually it is
            ``HintPromptBuilder(...) | chat_model | LabelParser(...)``, or an app of yours. `wants` says what it gets.
            If the arm returns a record, the two records are merged, so branches can nest as tiers. Such a record
            holds `answer` and `source`. It also holds our own `input` object, or a value that only a chain writes
            (`prediction`, `large`, `fused`, `subtasks`).
        threshold: Number in [0, 1], dict of such numbers by label, or None. A label that is not in the dict is
            deferred. None defers everything.
        max_ood_score: Largest distance from the training examples at which an answer is kept. A farther input is
            deferred, however sure the small model is. An input without an `ood_score` is deferred too.
            `SmallModelScorer.ood_limit` gives a value. A tuned threshold and its guarantee hold only with the value
            they were tuned with. None defers nothing for this reason.
        on_large_error: With "small" the small model's answer stands in. With "raise" the error is raised for that
            input. The error is also raised if the small model has no label.
        on_arm_bug: A bug in your own code inside of the arm (AttributeError, KeyError, TypeError, NameError and their
            like) is no outage of a model. Neither is a wrong call, such as that of a coroutine in a sync call, or an
            input that the arm's first prompt or chat model cannot take. With "raise" it is raised, with "small" it
            counts as any other error. What a model's answer may have caused is none of these.
        timeout: How many seconds one row may take. A row that takes longer has failed.
        deadline: How many seconds all deferred rows of a batch may take together. Rows that are not done by then have
            failed; the others keep their answers.
        breaker: What stops asking a model that keeps failing. Rows that are not asked about have failed. With it, or
            with a `timeout` or a `deadline`, the arm is asked row by row instead of by one batch.
        budget: How many tokens or dollars the arm's models may cost. Rows that are not asked about have failed, and
            `Budget` says whether the small model's answer stands in. The arm is asked row by row then, too.
        ask_once: Whether rows of a batch that ask the same are asked about once. The answer then counts for all of
            them, and only the first one has cost tokens. With "auto" that is so for an arm that ends by reading a
            label, as `LabelParser` and `LabelAsker` do. Any other arm may have side effects.
        wants: What the arm gets. With "record" it gets the whole record. With "input" it gets the very object that the
            chain was called with. With "auto", an arm that starts with a Runnable of this package gets the record. One
            that starts with a prompt gets its variables from the record; a prompt of one variable gets `input`. Any
            other arm gets the object that the chain was called with.
        experience: What keeps each decision, such as an `ExperienceStore`. It gets the finished record. Give it to the
            last Runnable of a chain alone.
        tier: The `source` of an answer that this branch keeps. The names "large", "fused" and "fallback" are taken.

    Raises:
        pydantic.ValidationError: A threshold is outside [0, 1], a tier has a taken name, or a keyword is unknown.
        InvalidInputError: An input is no record with a `Prediction`.
        WiringError: The arm's prompt has a variable that the record lacks. This error never leads to a fallback.

    Source: Data Shunt+ (arXiv 2406.15471), routing by the small model's confidence.

    Example:
        >>> branch = ConfidenceBranch(large=lambda record: "positive", threshold=0.9)
        >>> sure = {"input": "broke at once", "prediction": Prediction(label="negative", confidence=0.97)}
        >>> unsure = {"input": "well, well", "prediction": Prediction(label="negative", confidence=0.55)}
        >>> [(record["answer"], record["source"]) for record in branch.batch([sure, unsure])]
        [('negative', 'small'), ('positive', 'large')]
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    large: Annotated[Runnable[Any, Any], BeforeValidator(_arm)]
    wants: Literal["auto", "record", "input"] = "auto"
    tier: str = Field(default="small", min_length=1)

    @field_validator("tier")
    @classmethod
    def _tier_is_no_other_source(cls, tier: str) -> str:
        if tier in DEFERRED:
            msg = f"Got a small model called {tier!r}, which as a source says that another gave the answer; rename it"
            raise ValueError(msg)
        return tier

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.large.config_specs

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return branch_graph(self, self.large, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        return recorded(self.experience, self._answers(inputs, run_manager, config, **kwargs))

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        return recorded_stream(self.experience, self._pieces(value, run_manager, config, **kwargs))

    def _answers(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        """The finished record of each row, or its error."""
        results, calls = self._decide(inputs, run_manager, config)
        if calls:
            self._resolve(results, calls, (yield from self._heard(calls, kwargs)))
        yield from self._count(run_manager, calls, results)
        for value, result, manager in zip(inputs, results, run_manager, strict=True):
            if manager.handlers and not isinstance(result, Exception):
                yield Tell(manager, DECISION_EVENT, self._event(value["prediction"], result["source"]))
        return results

    def _pieces(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        """The finished record, piece by piece."""
        (result,), calls = self._decide([value], [run_manager], [config])
        if isinstance(result, Exception):
            yield from self._count([run_manager], calls, [result])
            raise result
        answer = AnswerStream(value, source="large", collector=calls[0].collector) if calls else None
        try:
            yield Chunk(AddableDict(without_answer(value)))
            if answer is None:
                yield Chunk(AddableDict(answer=result["answer"], source=result["source"]))
            else:
                try:
                    yield from self._opened(calls[0], kwargs, partial(answer_flow, answer))
                    result = {**value, "source": answer.source}
                except Exception as error:
                    try:
                        told = self._stand_in(calls[0], error, started=answer.started)
                    except Exception as unanswered:
                        yield from self._count([run_manager], calls, [unanswered])
                        raise
                    result = {**without_answer(value), **told}
                    yield Chunk(AddableDict(told))
        except Closed:
            result = answer.so_far if answer is not None and result is None else result
            if self.experience is not None:
                hand_over(self.experience, result)
            yield from self._told(value, run_manager, calls, result, {"record": result, **unfinished(result)})
            raise
        yield from self._told(value, run_manager, calls, result, {})

    def _told(
        self, value: Any, run_manager: Manager, calls: list[LargeCall], record: dict[str, Any], more: dict[str, Any]
    ) -> StreamFlow:
        """Count the decision of a stream, and send it if anybody listens."""
        yield from self._count([run_manager], calls, [record])
        if run_manager.handlers:
            event = self._event(value["prediction"], record["source"])
            yield Tell(run_manager, DECISION_EVENT, {**event, **more})

    def _decide(self, inputs: list[Any], run_manager: Any, config: Configs) -> tuple[list[Any], list[LargeCall]]:
        """The finished record of each kept row (or its error), and the calls that the other rows need."""
        results: list[Any] = [None] * len(inputs)
        calls: list[LargeCall] = []
        arm_input = input_of(self.large, self.wants)
        for row, value in enumerate(inputs):
            try:
                prediction = _prediction_of(value)
                record = without_answer(value)
                if self._keeps(prediction):
                    results[row] = {**record, "answer": prediction.value, "source": self.tier}
                else:
                    calls.append(self._call(row, record, arm_input(record), config[row], run_manager[row], "large"))
            except InvalidInputError as error:
                results[row] = error
        return results, calls

    def _resolve(self, results: list[Any], calls: list[LargeCall], outputs: list[Any]) -> None:
        """Put the large arm's outputs, or what stands in for them, into their rows."""
        errors: list[str] = []
        for call, output in zip(calls, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                results[call.row] = merge_answer(call.record, output, source="large", collector=call.collector)
            except Exception as error:
                try:
                    results[call.row] = {**call.record, **self._stand_in(call, error)}
                    errors.append(results[call.row]["error"])
                except Exception as unanswered:
                    results[call.row] = unanswered
        self._warn(errors, len(calls))

    @override
    def _told_of_input(self, call: LargeCall) -> str:
        if call.arm_input is call.record or leading_prompt(self.large) is not None:
            return ""
        return (
            f"The large arm was called with what the chain was called with ({what_came(call.arm_input)}). An arm that "
            'works on the record says so: ConfidenceBranch(..., wants="record")'
        )


def _prediction_of(value: Any) -> Prediction:
    prediction = value.get("prediction") if isinstance(value, Mapping) else None
    if isinstance(prediction, Prediction):
        return prediction
    got = what_came(value) if prediction is None else f"prediction={what_came(prediction)}"
    msg = (
        f"Got {got} but expected a record with a Prediction under 'prediction'. Put a scorer before the branch "
        "(RunnableScorer makes one of any Runnable that yields a Prediction)"
    )
    raise InvalidInputError(msg)
