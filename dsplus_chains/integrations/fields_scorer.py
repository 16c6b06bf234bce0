"""`FieldsScorer` asks the small models of an answer's fields, each about all texts at once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from typing_extensions import override

from dsplus_chains.integrations.field_value import value_of
from dsplus_chains.integrations.output_field import OutputField
from dsplus_chains.running.batch_runnable import BatchRunnable, by_row
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced_each
from dsplus_chains.schema import InvalidInputError, Prediction, TagsPrediction


class FieldsScorer(BatchRunnable[Any, Any]):
    """What the small models say of each field of a text.

    It takes a text, and returns a record with `predictions` by field. The `prediction` of the record is that of all
    fields together. It has no label where a field has none, and no confidence.

    Args:
        scorers: The small model of each field. It is asked once about all texts, even if it answers several fields.
        known: What each field may hold, as an `OutputField`.
        complete: Whether the small models can answer the whole. If not, `prediction` never has a label.
    """

    takes_record: ClassVar[bool] = False

    scorers: dict[str, Runnable[Any, Any]]
    known: dict[str, Any]
    complete: bool

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return get_unique_config_specs(spec for scorer in self.scorers.values() for spec in scorer.config_specs)

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results: list[Any] = [{"input": text, "predictions": {}} for text in inputs]
        for names, scorer in self._asked():
            tag = ", ".join(names)
            configs = traced_each(config, run_manager, tag)
            outputs = (yield Ask(scorer, inputs, configs, kwargs, run_manager)).outputs
            for name in names:
                answered = zip(results, outputs, strict=True)
                results = [_with(result, name, output, self.known[name]) for result, output in answered]
        return by_row(self._together, results)

    def _asked(self) -> list[tuple[list[str], Runnable[Any, Any]]]:
        """Each small model once, with the fields that it answers."""
        return [
            ([name for name, other in self.scorers.items() if other is scorer], scorer)
            for scorer in {id(scorer): scorer for scorer in self.scorers.values()}.values()
        ]

    def _together(self, record: Any) -> dict[str, Any]:
        """The record with the prediction of all fields."""
        if isinstance(record, Exception):
            raise record
        predictions: Mapping[str, Prediction] = record["predictions"]
        whole = self.complete and all(prediction.label is not None for prediction in predictions.values())
        values = {name: prediction.value for name, prediction in predictions.items()}
        return {
            **record,
            "prediction": Prediction.model_validate({"value": values}) if whole else Prediction(label=None),
        }


def _with(result: Any, name: str, output: Any, field: OutputField) -> Any:
    """The record with what one small model says, or the error of the row."""
    if isinstance(result, Exception) or isinstance(output, Exception):
        return result if isinstance(result, Exception) else output
    said, error = output["prediction"], output.get("small_error")
    if isinstance(said, TagsPrediction):
        said = said.by_tag[name]
    try:
        said = _allowed(said, field)
    except InvalidInputError as refused:
        said, error = Prediction(label=None), f"Got the label {said.label!r}, but {refused}"
    errors = [text for text in (result.get("small_error"), error and f"{name}: {error}") if text]
    told = {"small_error": "; ".join(errors)} if errors else {}
    return {**result, "predictions": {**result["predictions"], name: said}, **told}


def _allowed(prediction: Prediction, field: OutputField) -> Prediction:
    """The prediction with an allowed value, as JSON holds it.

    Raises:
        InvalidInputError: The label stands for no allowed value.
    """
    if prediction.label is None:
        return prediction
    found = value_of(field, prediction.value)
    return Prediction(**{**dict(prediction), "value": found.value if isinstance(found, Enum) else found})
