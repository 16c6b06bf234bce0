"""`ConfidenceBranch`: the small model's answer where it is sure, the large model's elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec
from pydantic import BeforeValidator, Field, field_validator
from typing_extensions import override

from dsplus_chains.gating.branch_graph import branch_graph
from dsplus_chains.running.answer_stream import AnswerStream, answer_flow
from dsplus_chains.running.arm import feed, leading_prompt, merge_answer, without_answer
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Ask, Chunk, Configs, Flow, Manager, Open, StreamFlow, Tell
from dsplus_chains.running.usage import UsageCollector, watched
from dsplus_chains.schema import (
    ASKED_LARGE,
    InvalidInputError,
    LargeAnswer,
    Prediction,
    ShuntRecord,
    Threshold,
    WiringError,
    describe_error,
    is_kept,
    threshold_for,
    what_came,
)

DECISION_EVENT = "dsplus_decision"
"""The name of the custom event that goes out for each input."""


class _Call(NamedTuple):
    """One row's call of the large arm."""

    row: int
    record: dict[str, Any]
    arm_input: dict[str, Any]
    config: RunnableConfig
    collector: UsageCollector


def _arm(value: Any) -> Any:
    if isinstance(value, BaseLanguageModel):
        msg = (
            f"Got large={type(value).__name__}, a bare model, but expected a Runnable over the record: put a prompt "
            "before it (prompt | model | parser), or use data_shunt"
        )
        raise ValueError(msg)  # noqa: TRY004  pydantic turns ValueError, not TypeError, into its own error
    return coerce_to_runnable(value)


class ConfidenceBranch(BatchRunnable[Any, Any]):
    """Keeps what the small model is sure of, and asks the large arm for the rest, all of it in one batch.

    In: a record with `prediction`. Out: the record with `answer`, `source`, and, if the large arm was asked, `large`
    (what it said, and its tokens). The small model's answer is kept iff ``confidence >= threshold``; a confidence
    that is not known defers. If the large arm fails, or answers something that is no label, the small model's answer
    stands in, with ``source="fallback"`` and the reason under `error`. So reads, too, the answer of an arm whose every
    model call failed, and which fell back on a step of its own (``with_fallbacks``).

    In a stream, a failure after the first chunk of the answer is raised: what is out cannot be taken back.

    For each input of each branch a custom event "dsplus_decision" goes out, `{source, confidence, threshold, label}`:
    who answered, and the small model's confidence and label beside the threshold they were held against.

    Args:
        large: What answers the deferred inputs: any Runnable over the record, usually
            ``HintPromptBuilder(...) | chat_model | LabelParser(...)``. An arm that starts with a prompt of one variable
            is fed from `input`; any other gets the whole record (``itemgetter("input") | app`` hands on the text). An
            arm that returns a record is merged, so branches nest into tiers: a mapping with `answer` and `source` that
            also holds our `input` itself or what only a chain writes (`prediction`, `large`, `fused`, `subtasks`).
        threshold: A number in [0, 1], a dict of such by label (a label that is not in it defers), or None (defers
            everything).
        max_ood_score: What lies further than this from the small model's training examples is deferred, however sure
            the small model is, and so is what has no `ood_score`; see `SmallModelScorer.ood_limit`. A threshold, and a
            guarantee most of all, holds with the value that it was tuned with. None: nothing is deferred for this.
        on_large_error: "small": the small model's answer stands in; "raise": the error is raised for that input.
        tier: The `source` of an answer that this branch keeps; not "large", "fused" or "fallback", which say who else
            gave it.

    Raises:
        pydantic.ValidationError: A threshold outside [0, 1], a tier that is called as another source, an unknown
            keyword.
        InvalidInputError: An input that is no record with a `Prediction`.
        WiringError: The arm's prompt has a variable that the record lacks. This is never a fallback.

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
    threshold: Threshold
    max_ood_score: float | None = Field(default=None, ge=0)
    on_large_error: Literal["small", "raise"] = "small"
    tier: str = Field(default="small", min_length=1)

    @field_validator("tier")
    @classmethod
    def _tier_is_no_other_source(cls, tier: str) -> str:
        if tier in {*ASKED_LARGE, "fallback"}:
            msg = f"Got a small model called {tier!r}, which as a source says that another gave the answer; rename it"
            raise ValueError(msg)
        return tier

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    @override
    def lc_attributes(self) -> dict[str, Any]:
        # As pairs: the keys of a JSON object could not be numbers.
        return {"threshold": [[k, v] for k, v in self.threshold.items()]} if isinstance(self.threshold, dict) else {}

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.large.config_specs

    @override
    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        return branch_graph(self, self.large, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, calls = self._decide(inputs, run_manager, config)
        if calls:
            asked = Ask(self.large, [call.arm_input for call in calls], [call.config for call in calls], kwargs)
            self._resolve(results, calls, (yield asked).outputs)
        for value, result, manager in zip(inputs, results, run_manager, strict=True):
            if manager.handlers and not isinstance(result, Exception):
                yield Tell(manager, DECISION_EVENT, self._event(value, result["source"]))
        return results

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        (result,), calls = self._decide([value], [run_manager], [config])
        if isinstance(result, Exception):
            raise result
        yield Chunk(AddableDict(without_answer(value)))
        if calls:
            answer = AnswerStream(value, source="large", collector=calls[0].collector)
            try:
                pieces = yield Open(self.large, calls[0].arm_input, calls[0].config, kwargs)
                yield from answer_flow(answer, pieces)
                source = answer.source
            except Exception as error:
                yield Chunk(AddableDict(self._stand_in(calls[0], error, started=answer.started)))
                source = "fallback"
        else:
            yield Chunk(AddableDict(answer=result["answer"], source=result["source"]))
            source = result["source"]
        if run_manager.handlers:
            yield Tell(run_manager, DECISION_EVENT, self._event(value, source))

    def _decide(self, inputs: list[Any], run_manager: Any, config: Configs) -> tuple[list[Any], list[_Call]]:
        """The finished record of each row that is kept (or its error), and the calls that the others need."""
        results: list[Any] = [None] * len(inputs)
        calls: list[_Call] = []
        prompt = leading_prompt(self.large)
        for row, value in enumerate(inputs):
            try:
                prediction = _prediction_of(value)
                record = without_answer(value)
                if is_kept(prediction, self.threshold, self.max_ood_score):
                    results[row] = {**record, "answer": prediction.value, "source": self.tier}
                else:
                    collector = UsageCollector()
                    arm_config = watched(config[row], run_manager[row], "large", collector)
                    arm_input = feed(prompt, record, whose="the large arm")
                    calls.append(_Call(row, record, arm_input, arm_config, collector))
            except InvalidInputError as error:
                results[row] = error
        return results, calls

    def _resolve(self, results: list[Any], calls: list[_Call], outputs: list[Any]) -> None:
        """Put the large arm's outputs, or what stands in for them, into their rows."""
        for call, output in zip(calls, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                results[call.row] = merge_answer(call.record, output, source="large", collector=call.collector)
            except Exception as error:
                try:
                    results[call.row] = {**call.record, **self._stand_in(call, error)}
                except Exception as unanswered:
                    results[call.row] = unanswered

    def _stand_in(self, call: _Call, error: Exception, *, started: bool = False) -> dict[str, Any]:
        """The small model's answer in place of the large one's, or the error where that is not wanted or possible."""
        small: Prediction = call.record["prediction"]
        if self.on_large_error == "raise" or small.label is None or started or isinstance(error, WiringError):
            raise error
        said = error.llm_output if isinstance(error, OutputParserException) else None
        return {
            "answer": small.value,
            "source": "fallback",
            "error": describe_error(error),
            "large": LargeAnswer(value=said, usage=call.collector.usage),
        }

    def _event(self, value: Mapping[str, Any], source: str) -> dict[str, Any]:
        prediction: Prediction = value["prediction"]
        return {
            "source": source,
            "confidence": prediction.confidence,
            "threshold": threshold_for(self.threshold, prediction),
            "label": prediction.label,
            **({} if self.max_ood_score is None else {"ood_score": prediction.ood_score}),
        }


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
