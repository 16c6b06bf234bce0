"""`AnswerFusion`: the last word weighs what both models have said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator
from typing_extensions import override

from dsplus_chains._runnable import BatchRunnable, Configs, Managers
from dsplus_chains.schema import InvalidInputError, Labels, LargeAnswer, Prediction, ShuntRecord, WiringError, as_label

SMALLEST_PROBABILITY = 1e-12


def _posterior(value: Any) -> Any:
    from dsplus_chains.calibration.posterior import Posterior  # brings scipy: only where a fusion is made

    if isinstance(value, Posterior):
        return value
    if isinstance(value, Mapping):
        return Posterior.from_dict(value)
    msg = f"Got posterior of type {type(value).__name__} but expected a Posterior; make one with AnswerFusion.fit(...)"
    raise ValueError(msg)


class AnswerFusion(BatchRunnable[Any, Any]):
    """Answers with the likeliest label given the small model's distribution and the large model's answer.

    Comes after a branch: ``scorer | branch | fusion``. In: the branch's record. Out: the same, where the large model
    has answered with ``source="fused"``, the `answer` that both together make likeliest, and under `fused` a
    `Prediction` with its probability. Records that the small model answered alone, fallbacks, and answers where the
    small model gives no probabilities pass as they are. What the large model itself said stays under `large`.

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
    ) -> Self:
        """Learn from rows whose label and large answer are known how much each model's word is worth.

        Args:
            predictions: The small model's, with probabilities, on rows that it was not trained on.
            labels: The true labels.
            large_answers: What the large model answered; None where it failed.
            large_confidences: How sure it was, where its provider tells.

        Raises:
            InvalidInputError: Lengths differ, there are no probabilities, or no row was answered.
        """
        names = _names(predictions)
        truth, answers = [as_label(label) for label in labels], [as_label(answer) for answer in large_answers]
        confidences = large_confidences if large_confidences is not None else [None] * len(answers)
        if not len(predictions) == len(truth) == len(answers) == len(confidences):
            msg = (
                f"Got {len(predictions)} predictions, {len(truth)} labels, {len(answers)} large answers and "
                f"{len(confidences)} confidences but expected one of each for every row"
            )
            raise InvalidInputError(msg)
        columns = {label: column for column, label in enumerate(names)}
        usable = [row for row, label in enumerate(truth) if label in columns and predictions[row].probabilities]
        heard = [row for row in usable if answers[row] in columns]
        if not heard:
            msg = "Got no row with a known label, probabilities of the small model, and an answer of the large one"
            raise InvalidInputError(msg)
        from dsplus_chains.calibration.posterior import fit_posterior

        posterior = fit_posterior(
            _logs([predictions[row] for row in heard], names),
            np.array([columns[truth[row]] for row in heard]),
            np.array([columns[answers[row]] for row in heard]),
            np.array([np.nan if (value := confidences[row]) is None else value for row in heard]),
        )
        return cls(labels=names, posterior=posterior)

    def fuse(
        self,
        predictions: Sequence[Prediction],
        large_answers: Sequence[Any],
        large_confidences: Sequence[float | None] | None = None,
    ) -> list[Prediction]:
        """What both models together make of each row; the small model's prediction where the large one said no label.

        Args:
            predictions: The small model's.
            large_answers: What the large model answered.
            large_confidences: How sure it was, where its provider tells.
        """
        confidences = large_confidences if large_confidences is not None else [None] * len(predictions)
        columns = {label: column for column, label in enumerate(self.labels)}
        results = list(predictions)
        rows = [
            row
            for row, answer in enumerate(large_answers)
            if as_label(answer) in columns and predictions[row].probabilities is not None
        ]
        if not rows:
            return results
        logs = self.posterior.log_proba(
            _logs([predictions[row] for row in rows], self.labels),
            np.array([columns[as_label(large_answers[row])] for row in rows]),
            np.array([np.nan if (value := confidences[row]) is None else value for row in rows]),
        )
        for row, probabilities in zip(rows, np.exp(logs), strict=True):
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

    @property
    @override
    def InputType(self) -> Any:
        return dict[str, Any]

    @property
    @override
    def OutputType(self) -> Any:
        return ShuntRecord

    @override
    def _run(self, inputs: list[Any], run_manager: Managers, config: Configs, **kwargs: Any) -> list[Any]:
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
        fused = self.fuse(
            [record["prediction"] for record in records],
            [record["large"].value for record in records],
            [record["large"].confidence for record in records],
        )
        for row, record, prediction in zip(rows, records, fused, strict=True):
            results[row] = {**record, "answer": prediction.label, "source": "fused", "fused": prediction}
        return results

    def _both_spoke(self, value: Any) -> bool:
        """Whether there is something to weigh in a record."""
        if not isinstance(value, Mapping) or "answer" not in value or "source" not in value:
            got = f"the keys {sorted(map(str, value))}" if isinstance(value, Mapping) else type(value).__name__
            msg = f"Got {got} but expected the record of a branch, with answer and source: scorer | branch | fusion"
            raise InvalidInputError(msg)
        prediction, large = value.get("prediction"), value.get("large")
        if value["source"] != "large" or not isinstance(large, LargeAnswer) or large.value not in self.labels:
            return False
        if not isinstance(prediction, Prediction) or prediction.probabilities is None:
            return False
        if strange := [label for label in prediction.probabilities if label not in self.labels]:
            msg = f"Got probabilities of {strange[:5]} but the fusion was fitted for {list(self.labels)[:10]}; fit anew"
            raise WiringError(msg)
        return True


def _names(predictions: Sequence[Prediction]) -> tuple[Any, ...]:
    names = next((tuple(row.probabilities) for row in predictions if row.probabilities is not None), None)
    if names is None:
        msg = "Got no prediction with probabilities but fusion weighs them; use a scorer that gives some"
        raise InvalidInputError(msg)
    return names


def _logs(predictions: Sequence[Prediction], names: Sequence[Any]) -> NDArray[np.float64]:
    table = [[(row.probabilities or {}).get(label, 0.0) for label in names] for row in predictions]
    return np.log(np.maximum(np.array(table, dtype=np.float64), SMALLEST_PROBABILITY))
