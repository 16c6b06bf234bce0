"""`EstimatorScorer` uses a classifier of scikit-learn as a scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator
from typing_extensions import override

from dsplus_chains.schema import ROUNDING, BundleError, InvalidInputError, Prediction, check_labels
from dsplus_chains.scoring.base_scorer import BaseScorer

SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of a text's sum of probabilities. Half precision is that coarse. Sigmoids are far off."""


class EstimatorScorer(BaseScorer):
    """Puts a fitted classifier of scikit-learn, or one like it, in the place of `SmallModelScorer`.

    It takes a text, or a dict that holds one. It returns the record with the classifier's prediction. A batch is one
    `predict_proba`. The confidence is what the classifier says. If nobody has checked it, fit the classifier inside a
    `CalibratedClassifierCV`. A row of NaN becomes a prediction without a label, which is deferred.

    Args:
        classifier: Any fitted object with `predict_proba` and `classes_`. Without `features` it reads texts itself,
            such as `make_pipeline(TfidfVectorizer(), LogisticRegression())`.
        features: Function from the batch's texts to what the classifier reads. Examples are `encoder.encode`, a
            vectoriser's `transform`, or a function that makes a data frame.
        input_key: The key of a dict under which the text is.

    Raises:
        pydantic.ValidationError: The classifier has no `predict_proba`, is not fitted, or predicts several labels at
            once.
        InvalidInputError: The classifier's output is not one distribution over its labels for each text.

    Example:
        >>> from sklearn.feature_extraction.text import CountVectorizer
        >>> from sklearn.naive_bayes import MultinomialNB
        >>> from sklearn.pipeline import make_pipeline
        >>> texts = ["great phone", "I love it", "broke at once", "waste of money"]
        >>> classifier = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, ["good", "good", "bad", "bad"])
        >>> scorer = EstimatorScorer(classifier=classifier)
        >>> scorer.labels, scorer.invoke("it broke at once")["prediction"].label
        (('bad', 'good'), 'bad')
    """

    classifier: Any
    features: Callable[[list[str]], Any] | None = None

    @model_validator(mode="after")
    def _is_ready(self) -> Self:
        kind = type(self.classifier).__name__
        if not hasattr(self.classifier, "predict_proba"):
            msg = (
                f"Got a {kind}, which has no predict_proba and so no confidence; fit "
                f"sklearn.calibration.CalibratedClassifierCV({kind}(...)) in its place"
            )
            raise ValueError(msg)
        classes = getattr(self.classifier, "classes_", None)
        if classes is None:
            msg = f"Got a {kind} without classes_; fit it first: classifier.fit(texts, labels)"
            raise ValueError(msg)
        if getattr(self.classifier, "multilabel_", False) or np.ndim(classes[0]) > 0:
            msg = f"Got a {kind} that predicts several labels a text but expected one that chooses a single label"
            raise ValueError(msg)
        check_labels(classes)
        return self

    @property
    def labels(self) -> tuple[Any, ...]:
        """The labels, in the order of the classifier's columns."""
        return check_labels(self.classifier.classes_)

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        table = self.classifier.predict_proba(texts if self.features is None else self.features(texts))
        return read_table(table, self.labels, n_texts=len(texts))

    def save(self, path: str | Path) -> None:
        """Refuse to save, because an arbitrary estimator cannot be written without pickle.

        Raises:
            BundleError: Always. It says what to do.
        """
        raise BundleError(self._no_pickle(f"to save in {str(path)!r}"))

    @override
    def to_json(self) -> Any:
        advice = "A RunnableScorer over a Serializable Runnable of yours, which reads the classifier, can be dumped"
        msg = f"{self._no_pickle('to dump')}. {advice}"
        raise BundleError(msg)

    def _no_pickle(self, to_do: str) -> str:
        kind = type(self.classifier).__name__
        return (
            f"Got a {kind} {to_do}, which cannot be done without pickle. Keep it yourself (skops.io "
            "writes estimators without pickle) and build EstimatorScorer(classifier=...) around it, or fit a "
            "SmallModelScorer, which can be saved"
        )


def read_table(table: ArrayLike, labels: tuple[Any, ...], *, n_texts: int) -> list[Prediction]:
    """The predictions in a table of probabilities. A row that is not finite has no label.

    Args:
        table: Probabilities of shape [texts, labels]. Each row sums to 1.
        labels: The labels of the columns.
        n_texts: Number of rows that it should have.

    Raises:
        InvalidInputError: It has another shape, or a row is no distribution.

    Example:
        >>> [str(row) for row in read_table([[0.25, 0.75], [float("nan")] * 2], ("a", "b"), n_texts=2)]
        ['b (75 %)', 'unknown (confidence unknown)']
    """
    rows = np.asarray(table, dtype=np.float64)
    if rows.shape != (n_texts, len(labels)):
        msg = f"Got probabilities of shape {rows.shape} from the small model but expected {(n_texts, len(labels))}"
        raise InvalidInputError(msg)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    spoilt = known & ((np.abs(rows.sum(axis=1) - 1) > SUM_TOLERANCE) | (rows < -ROUNDING).any(axis=1))
    if spoilt.any():
        shown = rows[spoilt][0, :5].round(3).tolist()
        msg = (
            f"Got {shown} from the small model for one text but expected probabilities that sum to 1: raw scores, or "
            "those of a model that judges each label by itself, are no confidence"
        )
        raise InvalidInputError(msg)
    rows = np.clip(rows, 0.0, 1.0)  # half precision overshoots, and NaN stays
    best = rows.argmax(axis=1)
    return [
        Prediction(
            label=labels[best[number]],
            confidence=float(row[best[number]]),
            probabilities=dict(zip(labels, row.tolist(), strict=True)),
        )
        if known[number]
        else Prediction(label=None)  # the branch defers what has no confidence
        for number, row in enumerate(rows)
    ]
