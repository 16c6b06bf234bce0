"""`DecidingShunt` is a shunt whose app answers later, such as an agent or another node of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnablePassthrough
from pydantic import Field
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.integrations.app_output import label_writer
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_text import TextPlace, When, text_reader
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Configs, Flow, Manager, StreamFlow, Tell
from dsplus_chains.running.recorder import Recorder, hand_over
from dsplus_chains.schema import ShuntRecord, as_label, check_threshold_labels
from dsplus_chains.scoring.coercing import app_scorer, marked_by


class DecidingShunt(AppShunt):
    """A shunt that only decides. Where the small model is not sure, somebody else answers later.

    It returns the record. A deferred record has neither an `answer` nor a `source` yet. The event "dsplus_decision"
    has the source "large" then, and so has what is recorded.
    """

    large: Runnable[Any, Any] = Field(default_factory=RunnablePassthrough)
    read: Callable[[Any], Any] = as_label

    @property
    @override
    def OutputType(self) -> Any:
        return ShuntRecord

    @override
    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        return BatchRunnable.get_output_schema(self, config)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, kept, calls = yield from self._decide(inputs, run_manager, config)
        yield from self._small(results, kept, run_manager, config)
        for row in kept:
            if not isinstance(results[row], Exception):
                yield from self._tell(run_manager[row], results[row])
        for call in calls:
            results[call.row] = call.record
        self._trace(run_manager, calls, results)
        for call in calls:
            if self.experience is not None:
                hand_over(self.experience, {**call.record, "answer": None, "source": "large"})
            if run_manager[call.row].handlers:
                yield Tell(run_manager[call.row], DECISION_EVENT, self.decision(call.record))
        return results

    def decision(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The data of the event for a record, without the record itself."""
        return self._event(record["prediction"], record.get("source", "large"))

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        yield from BatchRunnable._stream_flow(self, value, run_manager, config, **kwargs)


def deciding(
    scorer: Any,
    *,
    threshold: Any,
    text: TextPlace = "auto",
    when: When = "each_turn",
    output: Any = None,
    labels: Sequence[Any] | None = None,
    max_ood_score: float | None = None,
    experience: Recorder | None = None,
) -> tuple[DecidingShunt, list[Any]]:
    """A shunt that only decides, and its labels.

    Args:
        scorer: The small model, as in `shunt`. So are the arguments below.
        threshold: Confidence from which on the small model answers.
        text: Where the text is.
        when: Which turns of a conversation the small model may answer.
        output: How a label becomes the answer. None: the label is the answer.
        labels: The labels. By default they are the scorer's own.
        max_ood_score: Largest distance from the training examples at which an answer is kept.
        experience: What keeps each decision. One that is deferred has no answer.
    """
    first, names = app_scorer(scorer, labels=labels)
    check_threshold_labels(threshold, names)
    decider = DecidingShunt(
        name="shunt",
        scorer=first,
        text=text_reader(text, when=when),
        write=as_label if output is None else label_writer(output, names),
        threshold=threshold,
        max_ood_score=max_ood_score,
        experience=marked_by(scorer, experience),
    )
    return decider, names
