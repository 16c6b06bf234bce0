"""`LabelMask` rules out some labels of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import (
    InvalidInputError,
    Label,
    Labels,
    Prediction,
    ShuntRecord,
    labels_outside,
    what_came,
)


class LabelMask(ComputingRunnable[Any, Any]):
    """Takes labels out of a prediction. Their probabilities become 0, and the rest is scaled to sum to 1.

    It takes a `Prediction`, or a record with one. It returns the same with the label and the confidence of what is
    left. A prediction has neither if nothing is left. That happens if all its probability lay on masked labels. It also
    happens if it has no probabilities and its label is masked.

    The mask is for two passes. What a first model defers is unlikely to have a label that this model handles by itself
    (see `strong_labels`). So a second model, such as a distilled one, is asked only about the other labels. Ruling out
    labels raises the confidence, so tune the second threshold on masked predictions.

    Args:
        labels: The labels to take out.

    Raises:
        pydantic.ValidationError: There are no labels, a label comes twice, or a keyword is unknown.
        InvalidInputError: The input is neither a `Prediction` nor a record with one.

    Source: Data Shunt (AAAI 2024), two-pass inference of its code for CIFAR-100-LT, with `mask_value` minus infinity.
    That code sets the masked logits to 0, so a masked label can still win. This is not offered here. A prediction holds
    no logits. Its probabilities give them only up to a constant, so they have no zero point.

    Example:
        >>> mask = LabelMask(labels=["cat"])
        >>> unsure = Prediction(label="cat", confidence=0.5, probabilities={"cat": 0.5, "fox": 0.4, "elk": 0.1})
        >>> print(mask.invoke(unsure))
        fox (80 %)

        As the second of two tiers:

        >>> from dsplus_chains import RunnableScorer, data_shunt
        >>> original = distilled = RunnableScorer(run=lambda text: unsure, labels=["cat", "fox", "elk"])
        >>> large = lambda prompt: "elk"
        >>> chain = data_shunt(
        ...     [original, distilled | mask], large, instruction="Which animal?", threshold=[0.9, 0.75]
        ... )
        >>> chain.pick(["answer", "source"]).invoke("It is red.")
        {'answer': 'fox', 'source': 'small-2'}
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    labels: Labels

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return by_row(self._masked, inputs)

    def _masked(self, value: Any) -> Any:
        if isinstance(value, Prediction):
            return without_labels(value, self.labels)
        prediction = value.get("prediction") if isinstance(value, Mapping) else None
        if isinstance(prediction, Prediction):
            return {**value, "prediction": without_labels(prediction, self.labels)}
        msg = f"Got {what_came(value)} but expected a Prediction, or a record with one. Put the mask after a scorer"
        raise InvalidInputError(msg)


def without_labels(prediction: Prediction, masked: tuple[Label, ...]) -> Prediction:
    """A prediction with some labels ruled out. It stays the same if it does not name them.

    Args:
        prediction: Any prediction.
        masked: The labels that are ruled out.

    Example:
        >>> without_labels(Prediction(label="cat", confidence=0.9), ("cat",)).confidence is None
        True
    """
    kept: dict[str, Any] = {"ood_score": prediction.ood_score, "training": prediction.training}
    if prediction.probabilities is None:
        spared = labels_outside([prediction.label], masked)
        return prediction if spared else Prediction(label=None, **kept)
    left = {label: prediction.probabilities[label] for label in labels_outside(prediction.probabilities, masked)}
    if len(left) == len(prediction.probabilities):
        return prediction
    total = sum(left.values())
    if not total:
        return Prediction(label=None, **kept)
    scaled = dict.fromkeys(prediction.probabilities, 0.0) | {label: p / total for label, p in left.items()}
    best = max(scaled, key=scaled.__getitem__)
    return Prediction(label=best, confidence=scaled[best], probabilities=scaled, **kept)
