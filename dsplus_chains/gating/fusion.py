"""`AnswerFusion`: the last word weighs what both models have said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import BeforeValidator, model_validator
from typing_extensions import override

from dsplus_chains.gating.answer_table import (
    answer_columns,
    check_lengths,
    confidence_column,
    log_probabilities,
    names_in,
    probability_table,
    rows_heard,
)
from dsplus_chains.running.batch_runnable import ComputingRunnable
from dsplus_chains.schema import (
    InvalidInputError,
    Labels,
    LargeAnswer,
    Prediction,
    ShuntRecord,
    WiringError,
    check_answered,
    check_labels,
)


def _posterior(value: Any) -> Any:
    from dsplus_chains.calibration.posterior import Posterior  # brings scipy: only where a fusion is made

    if isinstance(value, Posterior):
        return value
    if isinstance(value, Mapping):
        return Posterior.from_dict(value)
    msg = f"Got posterior of type {type(value).__name__} but expected a Posterior; make one with AnswerFusion.fit(...)"
    raise ValueError(msg)


class AnswerFusion(ComputingRunnable[Any, Any]):
    """Answers with the likeliest label given the small model's distribution and the large model's answer.

    Comes after a branch: ``scorer | branch | fusion``. In: the branch's record. Out: the same, where the large model
    has answered with ``source="fused"``, the `answer` that both together make likeliest, and under `fused` a
    `Prediction` with its probability. Records that the small model answered alone, fallbacks, and answers that have no
    probability of the small model's (or one of 0, as what is masked has) pass as they are. What the large model itself
    said stays under `large`. Labels of probability 0 keep it, so the probabilities under `fused` take the true label to
    be one of the others. The event "dsplus_decision" goes out before, from the branch, and says "large".

    It weighs the record's latest `prediction`, so in a chain of several small models it belongs where the one that it
    was fitted with stands: ``first | ConfidenceBranch(large=second | branch | fusion, ...)``.

    Made by `AnswerFusion.fit`, usually through ``tune_threshold(..., fusion="posterior")``.

    Args:
        labels: The labels, in the order of the posterior's columns.
        posterior: How the two combine.

    Raises:
        pydantic.ValidationError: The posterior is about another number of labels.
        InvalidInputError: An input that is no record of a branch.
        WiringError: A prediction gives probabilities of other labels.

    Source: principle of the cascade papers turned round: DS+ (arXiv 2406.15471) lets the large model's answer replace
    the small one's, which loses where the large model is wrong and the small one had it right.

    Example:
        >>> unsure = Prediction(label="spam", confidence=0.55, probabilities={"spam": 0.55, "ham": 0.45})
        >>> fusion = AnswerFusion.fit([unsure] * 8, ["spam", "ham"] * 4, ["spam", "ham"] * 4)
        >>> record = {"prediction": unsure, "answer": "ham", "source": "large", "large": LargeAnswer(value="ham")}
        >>> fused = fusion.invoke(record)
        >>> fused["answer"], fused["source"]
        ('ham', 'fused')
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    labels: Labels
    posterior: Annotated[Any, BeforeValidator(_posterior)]

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if len(self.posterior.counts) != len(self.labels):
            msg = f"Got a posterior of {len(self.posterior.counts)} labels but {len(self.labels)} labels"
            raise ValueError(msg)
        return self

    @classmethod
    def fit(
        cls,
        predictions: Sequence[Prediction],
        labels: Sequence[Any],
        large_answers: Sequence[Any],
        *,
        large_confidences: Sequence[float | None] | None = None,
        names: Sequence[Any] | None = None,
    ) -> Self:
        """Learn from rows whose label and large answer are known how much each model's word is worth.

        Args:
            predictions: The small model's, with probabilities, on rows that it was not trained on.
            labels: The true labels.
            large_answers: What the large model answered; None where it failed.
            large_confidences: How sure it was, where its provider tells.
            names: The labels; those that the predictions give probabilities of if left out.

        Raises:
            InvalidInputError: Lengths differ, there are no probabilities, or no row was answered with a label.
        """
        predictions, confidences = list(predictions), confidence_column(large_confidences, large_answers)
        check_lengths(predictions=predictions, labels=labels, large_answers=large_answers, confidences=confidences)
        names = check_labels(list(names)) if names is not None else names_in(predictions)
        heard, truth, answers = rows_heard(predictions, labels, large_answers, names)
        if not len(heard):
            msg = "Got no row with a known label, probabilities of the small model, and a label from the large one"
            raise InvalidInputError(msg)
        from dsplus_chains.calibration.posterior import fit_posterior

        posterior = fit_posterior(
            log_probabilities(probability_table([predictions[row] for row in heard], names)),
            truth,
            answers,
            confidences[heard],
        )
        return cls(labels=names, posterior=posterior)

    @staticmethod
    def rows_to_learn_from(
        predictions: Sequence[Prediction], labels: Sequence[Any], large_answers: Sequence[Any], names: Sequence[Any]
    ) -> int:
        """On how many rows both the true label and the large answer have a probability of the small model's.

        Args:
            predictions: The small model's.
            labels: The true labels.
            large_answers: What the large model answered.
            names: The labels.
        """
        return len(rows_heard(predictions, labels, large_answers, names)[0])

    def fuse(
        self,
        predictions: Sequence[Prediction],
        large_answers: Sequence[Any],
        large_confidences: Sequence[float | None] | None = None,
    ) -> list[Prediction]:
        """What both models together make of each row; the small model's prediction where there is nothing to weigh.

        Args:
            predictions: The small model's.
            large_answers: What the large model answered.
            large_confidences: How sure it was, where its provider tells.

        Raises:
            InvalidInputError: Lengths differ.
            WiringError: A prediction gives probabilities of other labels than the fusion was fitted for.
        """
        weighed = self.weigh(predictions, large_answers, large_confidences)
        return [alone if both is None else both for alone, both in zip(predictions, weighed, strict=True)]

    def weigh(
        self,
        predictions: Sequence[Prediction],
        large_answers: Sequence[Any],
        large_confidences: Sequence[float | None] | None = None,
    ) -> list[Prediction | None]:
        """The same as `fuse`, with None where the large model said no label, or one of probability 0."""
        predictions, confidences = list(predictions), confidence_column(large_confidences, large_answers)
        check_lengths(predictions=predictions, large_answers=large_answers, confidences=confidences)
        for prediction in predictions:
            self._check_labels_of(prediction)
        answers = answer_columns(large_answers, self.labels, predictions)
        results: list[Prediction | None] = [None] * len(predictions)
        rows = np.flatnonzero(answers >= 0)
        if not len(rows):
            return results
        from scipy.special import softmax  # the posterior has brought scipy

        table = probability_table([predictions[row] for row in rows], self.labels)
        logs = self.posterior.log_proba(log_probabilities(table), answers[rows], confidences[rows])
        # A weight below 1 must not revive what is masked.
        both = softmax(np.where(table > 0, logs, -np.inf), axis=1)
        for row, probabilities in zip(rows.tolist(), both, strict=True):
            best = int(probabilities.argmax())
            results[row] = Prediction(
                label=self.labels[best],
                confidence=float(probabilities[best]),
                probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            )
        return results

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; `from_dict` reads it back."""
        return {"labels": list(self.labels), "posterior": self.posterior.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote.

        Raises:
            ValueError: A field is missing or unknown.
        """
        try:
            return cls(labels=data["labels"], posterior=data["posterior"])
        except (KeyError, TypeError, IndexError) as error:
            msg = f"Got a fusion that cannot be read ({error!r}) but expected what to_dict() writes"
            raise ValueError(msg) from error

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        results: list[Any] = []
        rows: list[int] = []
        for row, value in enumerate(inputs):
            try:
                if self._both_spoke(value):
                    rows.append(row)
                results.append(value)
            except InvalidInputError as error:
                results.append(error)
        records = [inputs[row] for row in rows]
        fused = self.weigh(
            [record["prediction"] for record in records],
            [record["large"].value for record in records],
            [record["large"].confidence for record in records],
        )
        for row, record, both in zip(rows, records, fused, strict=True):
            if both is not None:
                results[row] = {**record, "answer": both.label, "source": "fused", "fused": both}
        return results

    def _both_spoke(self, value: Any) -> bool:
        """Whether there is something to weigh in a record."""
        record = check_answered(value, place="scorer | branch | fusion")
        prediction, large = record.get("prediction"), record.get("large")
        if record["source"] != "large" or not isinstance(large, LargeAnswer) or not isinstance(prediction, Prediction):
            return False
        self._check_labels_of(prediction)
        return True

    def _check_labels_of(self, prediction: Prediction) -> None:
        """Refuse a prediction about other labels: its probabilities could not be weighed.

        Raises:
            WiringError: It is about other labels.
        """
        if strange := (prediction.probabilities or {}).keys() - set(self.labels):
            msg = (
                f"Got probabilities of {sorted(strange)[:5]} but the fusion was fitted for {list(self.labels)[:10]}; "
                "fit anew"
            )
            raise WiringError(msg)
