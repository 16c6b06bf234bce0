"""`RunnableScorer` uses any Runnable that yields a `Prediction` as a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced
from dsplus_chains.schema import InvalidInputError, Labels, Prediction, labels_outside, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.record_start import with_prediction


class RunnableScorer(BaseScorer):
    """Puts a small model of your own in the place of `SmallModelScorer`.

    It takes a text, or a dict that holds one. It returns the record with the Runnable's prediction.

    Args:
        run: Any Runnable or function from the text to a `Prediction`, or to a record that holds one.
        labels: The labels it may predict, if later steps need to know them.
        input_key: The key of a dict under which the text is.

    Raises:
        InvalidInputError: The input holds no text, or the Runnable does not yield a `Prediction`. Or its label is not
            among `labels`.

    Example:
        >>> def keyword_model(text: str) -> Prediction:
        ...     return Prediction(label="negative", confidence=0.9 if "broke" in text else 0.5)
        >>> str(RunnableScorer(run=keyword_model).invoke("it broke")["prediction"])
        'negative (90 %)'
    """

    run: Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]
    labels: Labels | None = None

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.run.config_specs

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [_prediction(output) for output in self.run.batch(texts)]

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, rows = self._start(inputs)
        texts = [results[row]["input"] for row in rows]
        configs = [traced(config[row], run_manager[row], "small") for row in rows]
        self._fill(results, rows, (yield Ask(self.run, texts, configs)).outputs)
        return results

    def _fill(self, results: list[Any], rows: list[int], outputs: list[Any]) -> None:
        for row, output in zip(rows, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                prediction = _prediction(output)
                if self.labels is not None and labels_outside([prediction.label], [None, *self.labels]):
                    msg = f"Got the label {prediction.label!r} from the small model but expected one of {self.labels}"
                    raise InvalidInputError(msg)
                results[row] = with_prediction(results[row], prediction)
            except Exception as error:
                results[row] = error


def _prediction(output: Any) -> Prediction:
    found = output.get("prediction") if isinstance(output, Mapping) else output
    if isinstance(found, Prediction):
        return found
    msg = (
        f"Got {what_came(output)} from the small model but expected a Prediction: "
        "return Prediction(label=..., confidence=...)"
    )
    raise InvalidInputError(msg)
