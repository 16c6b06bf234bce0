"""`StructuredShunt` is a shunt around an app with structured output, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import AddableDict
from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.gating.large_call import LargeCall
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.part_asker import PartAsk, PartAsker
from dsplus_chains.integrations.part_schema import fields_in
from dsplus_chains.running.flow import Chunk, Manager, StreamFlow
from dsplus_chains.schema import LargeAnswer, Prediction, as_threshold, is_kept, threshold_for


def _by_field(value: Any) -> Any:
    """Thresholds by field, each in a form that the rule takes."""
    if not isinstance(value, Mapping):
        return as_threshold(value)
    return {name: as_threshold(number) for name, number in value.items()}


class StructuredShunt(AppShunt):
    """Small models before an app with structured output. Each answers a field where it is sure.

    The app is asked for the other fields alone, by a schema without the known ones. It is told what is known: the value
    and how sure the small model is. The parts become one object, which is validated as a whole. If all fields are
    known, the app is not asked. If none is, the app gets its own request, to the byte.

    `shunt` makes one, with `fields`. Rows that lack the same fields share a batch. Its output is one chunk in a stream.

    If the app fails, the small models stand in only if each field that is still open has a label. Else the error is
    raised. Nothing is invented.

    Beside the keys of other shunts, the record has `predictions` and `sources`, both by field. A source is "small",
    "large" or "fallback". It is "default" for an optional field that nobody was asked for. The event "dsplus_decision"
    has both, too. `source` is "large" if the app was asked for anything.

    Args:
        large: The `PartAsker` around the app.
        threshold: Confidence from which on a small model's answer is known: a number for all fields, or a dict by
            field. Each number may be a dict by label.

    Source: Data Shunt+ (arXiv 2406.15471), prompt transferring, which gives the large model what a small one has
    found. That it goes field by field is ours.

    Example:
        >>> class Ticket(BaseModel):  # doctest: +SKIP
        ...     category: Literal["billing", "shipping"]
        ...     urgent: bool
        ...     reply: str
        >>> app = prompt | chat_model.with_structured_output(Ticket)  # doctest: +SKIP
        >>> fields = {"category": category_scorer, "urgent": urgency_scorer}  # doctest: +SKIP
        >>> shunted = shunt(app, fields=fields, threshold={"category": 0.9, "urgent": 0.95})  # doctest: +SKIP
        >>> shunted.invoke({"ticket": "I want a refund, now"})  # asks for the reply alone  # doctest: +SKIP
        Ticket(category='billing', urgent=True, reply='We look at your bill.')
    """

    large: PartAsker
    threshold: Annotated[Any, BeforeValidator(_by_field)]

    @property
    @override
    def _app(self) -> Runnable[Any, Any]:
        return self.large.app

    @override
    def _stream_flow(self, value: Any, run_manager: Manager, config: RunnableConfig, **kwargs: Any) -> StreamFlow:
        (result,) = yield from self._flow([value], [run_manager], [config], **kwargs)
        if isinstance(result, Exception):
            raise result
        yield Chunk(AddableDict(result) if self.with_record else result)

    def _known(self, record: dict[str, Any]) -> dict[str, Prediction]:
        """The fields that their small models are sure of."""
        predictions: Mapping[str, Prediction] = record.get("predictions", {})
        known = {
            name: prediction
            for name, prediction in predictions.items()
            if is_kept(prediction, self._threshold_of(name), self.max_ood_score)
        }
        together = record["prediction"]
        if together.label is not None and len(known) == len(predictions) and not self._is_valid(together.value):
            return {}  # they contradict each other
        return known

    def _is_valid(self, values: Mapping[str, Any]) -> bool:
        """Whether the small models' answers make a valid whole."""
        try:
            self.write(values)
        except Exception:  # a validator of the user's may raise anything
            return False
        return True

    def _threshold_of(self, name: str) -> Any:
        return self.threshold.get(name) if isinstance(self.threshold, Mapping) else self.threshold

    @override
    def _is_sure(self, record: dict[str, Any]) -> bool:
        return record["prediction"].label is not None and len(self._known(record)) == len(record["predictions"])

    @override
    def _kept(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**super()._kept(record), "sources": self._sources(record)}

    @override
    def _arm_input(self, value: Any, record: dict[str, Any]) -> PartAsk:
        known = {} if self.shadow else self._known(record)
        return PartAsk(value, known, only_rest=len(known) == len(record.get("predictions", {})))

    @override
    def _answered(self, call: LargeCall, output: Any) -> dict[str, Any]:
        asked = [name for name in self.large.names if name not in output.known]
        return {
            **call.record,
            "answer": output.whole,
            "answer_label": fields_in(output.whole, list(call.record.get("predictions", {}))),
            "source": "large",
            "sources": {name: "large" if name in asked else "small" for name in self.large.names},
            "large": LargeAnswer(value=fields_in(output.whole, asked), usage=call.collector.usage),
        }

    @override
    def _stand_in(self, call: LargeCall, error: Exception, *, started: bool = False) -> dict[str, Any]:
        return {**super()._stand_in(call, error, started=started), "sources": self._sources(call.record)}

    def _sources(self, record: dict[str, Any]) -> dict[str, str]:
        """Who gives each field, where the app gives none."""
        known = self._known(record)
        scored = {name: "small" if name in known else "fallback" for name in record["predictions"]}
        return {name: scored.get(name, "default") for name in self.large.names}

    @override
    def _event(self, prediction: Prediction, source: str) -> dict[str, Any]:
        return {**super()._event(prediction, source), "threshold": self.threshold}

    @override
    def _details(self, record: dict[str, Any]) -> dict[str, Any]:
        said = record.get("predictions", {}).items()
        fields = {
            name: {
                "source": record["sources"][name],
                "confidence": prediction.confidence,
                "threshold": threshold_for(self._threshold_of(name), prediction),
                "label": prediction.label,
            }
            for name, prediction in said
        }
        return {"fields": fields}
