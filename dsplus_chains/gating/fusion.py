"""`AnswerFusion` weighs the answers of both models."""

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
from dsplus_chains.running.flow import Configs, Flow, Manager
from dsplus_chains.running.recorder import MaybeRecorder, recorded
from dsplus_chains.schema import (
    InvalidInputError,
    Labels,
    LargeAnswer,
    Prediction,
    ShuntRecord,
    WiringError,
    brief,
    check_answered,
    check_labels,
    column_of,
    read_predictions,
)


def _posterior(value: Any) -> Any:
    from dsplus_chains.calibration.posterior import Posterior  # loads scipy, so only when a fusion is made

    if isinstance(value, Posterior):
        return value
    if isinstance(value, Mapping):
        return Posterior.from_dict(value)
    msg = f"Got posterior of type {type(value).__name__} but expected a Posterior; make one with AnswerFusion.fit(...)"
    raise ValueError(msg)


class AnswerFusion(ComputingRunnable[Any, Any]):
    """Answers with the likeliest label, given the small model's distribution and the large model's answer.

    It comes after a branch, as in ``scorer | branch | fusion``. It takes the branch's record. Where the large model has
    answered, it returns the record with ``source="fused"``. The `answer` is then the label that both together make
    likeliest. A `Prediction` with its probability stands under `fused`. The large model's own answer stays under
    `large`.

    Some records pass unchanged. Either the small model answered alone or as a fallback, or there is nothing to weigh.
    There is nothing to weigh if the small model gives the large answer no probability. A probability of 0, as of a
    masked label, counts as none.

    A label of probability 0 keeps it. So the probabilities under `fused` assume that the true label is one of the
    others. The branch sends the event "dsplus_decision" before the fusion, so its source is "large".

    The fusion weighs the record's latest `prediction`. In a chain of several small models, put it behind the one it was
    fitted with: ``first | ConfidenceBranch(large=second | branch | fusion, ...)``.

    `AnswerFusion.fit` makes it, usually through ``tune_threshold(..., fusion="posterior")``.

    Args:
        labels: The labels, in the order of the posterior's columns.
        posterior: Model of how the two answers combine.
        experience: What keeps each decision, such as an `ExperienceStore`. It gets the finished record.

    Raises:
        pydantic.ValidationError: The posterior has another number of labels.
        InvalidInputError: An input is no record of a branch.
        WiringError: A prediction gives probabilities of other labels.

    Source: this turns round the principle of the cascade papers. In DS+ (arXiv 2406.15471) the large model's answer
    replaces the small one's. That loses where the large model is wrong and the small one was right.

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
    experience: MaybeRecorder = None

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
        like: Self | None = None,
    ) -> Self:
        """Learn how much each model's word is worth, from rows with a known label and a known large answer.

        Args:
            predictions: The small model's predictions with probabilities, on rows that it was not trained on.
            labels: The true labels.
            large_answers: The large model's answers, None where it failed.
            large_confidences: The large model's confidence, where its provider gives it.
            names: The labels. By default they are the labels that the predictions give probabilities of.
            like: A fusion of the same labels and nearly the same rows, whose smoothing is taken. That takes a tenth of
                the time.

        Raises:
            InvalidInputError: Lengths differ, there are no probabilities, or no row was answered with a label.
        """
        predictions, labels = read_predictions(predictions), column_of(labels, "labels")
        large_answers = column_of(large_answers, "large answers")
        confidences = confidence_column(large_confidences, large_answers)
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
            like=None if like is None else like.posterior,
        )
        return cls(labels=names, posterior=posterior)

    @staticmethod
    def rows_to_learn_from(
        predictions: Sequence[Prediction], labels: Sequence[Any], large_answers: Sequence[Any], names: Sequence[Any]
    ) -> int:
        """Number of rows whose true label and large answer both have a probability from the small model.

        Args:
            predictions: The small model's predictions.
            labels: The true labels.
            large_answers: The large model's answers.
            names: The labels.
        """
        return len(rows_heard(predictions, labels, large_answers, names)[0])

    def fuse(
        self,
        predictions: Sequence[Prediction],
        large_answers: Sequence[Any],
        large_confidences: Sequence[float | None] | None = None,
    ) -> list[Prediction]:
        """The prediction of both models together for each row.

        Where there is nothing to weigh, it is the small model's prediction.

        Args:
            predictions: The small model's predictions.
            large_answers: The large model's answers.
            large_confidences: The large model's confidence, where its provider gives it.

        Raises:
            InvalidInputError: Lengths differ.
            WiringError: A prediction gives probabilities of labels that the fusion was not fitted for.
        """
        predictions = read_predictions(predictions)
        weighed = self.weigh(predictions, large_answers, large_confidences)
        return [alone if both is None else both for alone, both in zip(predictions, weighed, strict=True)]

    def weigh(
        self,
        predictions: Sequence[Prediction],
        large_answers: Sequence[Any],
        large_confidences: Sequence[float | None] | None = None,
    ) -> list[Prediction | None]:
        """The same as `fuse`, but None where there is nothing to weigh.

        That is where the large model's answer is no label, or a label of probability 0.
        """
        predictions, large_answers = read_predictions(predictions), column_of(large_answers, "large answers")
        confidences = confidence_column(large_confidences, large_answers)
        check_lengths(predictions=predictions, large_answers=large_answers, confidences=confidences)
        for prediction in predictions:
            self._check_labels_of(prediction)
        answers = answer_columns(large_answers, self.labels, predictions)
        results: list[Prediction | None] = [None] * len(predictions)
        rows = np.flatnonzero(answers >= 0)
        if not len(rows):
            return results
        from scipy.special import softmax  # the posterior has loaded scipy already

        table = probability_table([predictions[row] for row in rows], self.labels)
        logs = self.posterior.log_proba(log_probabilities(table), answers[rows], confidences[rows])
        # A weight below 1 must not revive a masked label.
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
        """The fusion as plain data for JSON. `from_dict` reads it back."""
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
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        return recorded(self.experience, super()._flow(inputs, run_manager, config, **kwargs))

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
                known = {key: told for key, told in record.items() if key != "answer_label"}  # it is of another answer
                results[row] = {**known, "answer": both.label, "source": "fused", "fused": both}
        return results

    def _both_spoke(self, value: Any) -> bool:
        """Whether a record holds something to weigh."""
        record = check_answered(value, place="scorer | branch | fusion")
        prediction, large = record.get("prediction"), record.get("large")
        if record["source"] != "large" or not isinstance(large, LargeAnswer) or not isinstance(prediction, Prediction):
            return False
        self._check_labels_of(prediction)
        return True

    def _check_labels_of(self, prediction: Prediction) -> None:
        """Refuse a prediction about other labels, whose probabilities could not be weighed.

        Raises:
            WiringError: It is about other labels.
        """
        if strange := (prediction.probabilities or {}).keys() - set(self.labels):
            msg = (
                f"Got probabilities of {sorted(strange)[:5]} but the fusion was fitted for {brief(list(self.labels))}; "
                "fit anew"
            )
            raise WiringError(msg)
