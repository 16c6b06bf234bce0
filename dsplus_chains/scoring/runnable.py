"""`RunnableScorer` uses any Runnable that yields a `Prediction` as a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.schema import Labels, Prediction, WiringError, what_came
from dsplus_chains.scoring.asking import AskingScorer


class RunnableScorer(AskingScorer):
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
    def _asks(self) -> Runnable[Any, Any]:
        return self.run

    @property
    @override
    def _known(self) -> Sequence[Any] | None:
        return self.labels

    @override
    def _prediction(self, output: Any) -> Prediction:
        found = output.get("prediction") if isinstance(output, Mapping) else output
        if isinstance(found, Prediction):
            return found
        msg = (
            f"Got {what_came(output)} from the small model but expected a Prediction: "
            "return Prediction(label=..., confidence=...)"
        )
        raise WiringError(msg)
