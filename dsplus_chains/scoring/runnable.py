"""`RunnableScorer` uses any Runnable that yields a `Prediction` as a scorer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.running.batch_runnable import by_row
from dsplus_chains.running.flow import Ask, Configs, Manager
from dsplus_chains.running.usage import traced
from dsplus_chains.schema import Labels, Prediction, WiringError, labels_outside, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer


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
    def _predictions(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        children = [traced(config, manager, "small") for config, manager in zip(configs, managers, strict=True)]
        asked = yield Ask(self.run, [record["input"] for record in records], children)
        return by_row(self._read, asked.outputs)

    def _read(self, output: Any) -> Prediction:
        """The prediction in what the Runnable returned."""
        if isinstance(output, Exception):
            raise output
        prediction = _prediction(output)
        if self.labels is not None and labels_outside([prediction.label], [None, *self.labels]):
            msg = f"Got the label {prediction.label!r} from the small model but expected one of {self.labels}"
            raise WiringError(msg)
        return prediction


def _prediction(output: Any) -> Prediction:
    found = output.get("prediction") if isinstance(output, Mapping) else output
    if isinstance(found, Prediction):
        return found
    msg = (
        f"Got {what_came(output)} from the small model but expected a Prediction: "
        "return Prediction(label=..., confidence=...)"
    )
    raise WiringError(msg)
