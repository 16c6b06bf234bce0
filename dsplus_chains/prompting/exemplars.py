"""`ExemplarSelector` finds the training examples most like an input, for the large model to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from numpy.typing import NDArray
from typing_extensions import override

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.prompting.exemplar import Exemplar
from dsplus_chains.prompting.exemplar_retriever import ExemplarRetriever
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    as_label,
    brief_repr,
    check_labels,
    clean_labels,
    column_of,
    each_once,
    what_came,
)
from dsplus_chains.scoring.training_examples import read_inputs

if TYPE_CHECKING:
    from dsplus_chains.encoding.neighbor_index import Search  # loads faiss

POOL = 5
"""With `diversity`, the examples are chosen among this many times k nearest ones, at least 50."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class ExemplarSelector(BaseExampleSelector):
    """Finds the k labelled examples nearest to an input.

    A whole batch is one encode and one index search. With `per_label` it is one search for each label.

    It is a LangChain example selector, so a `FewShotPromptTemplate` takes it too. `as_retriever` makes it a retriever.

    Args:
        encoder: Encoder of the texts, usually the small model's own.
        exemplars: The examples to choose from.
        vectors: The examples' vectors, of shape [n, dimensions].
        k: Number of examples to choose.
        diversity: Weight of variety, from 0 to 1 (maximal marginal relevance). 0 takes the nearest examples. 1 takes
            those that differ most from one another.
        per_label: Largest number of examples of one label. None sets no limit.
        input_key: The variable of a few-shot prompt that holds the text. It is needed only if there are several
            variables.

    Raises:
        InvalidInputError: There are no examples, lengths differ, or a setting is out of range.

    Source: SuperICL (Xu et al., Findings of ACL 2024, arXiv 2305.08848). It draws the examples at random. Here they are
    the nearest.

    Example:
        >>> class Letters:
        ...     name = "letters"
        ...
        ...     def encode(self, texts):
        ...         return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)
        >>> selector = ExemplarSelector.fit(["aa", "bb", "aab"], ["A", "B", "A"], encoder=Letters(), k=2)
        >>> [example["input"] for example in selector.select_examples({"input": "aaaa"})]
        ['aa', 'aab']
    """

    encoder: Encoder
    exemplars: tuple[Exemplar, ...]
    vectors: NDArray[np.float32]
    k: int = 4
    diversity: float = 0.0
    per_label: int | None = None
    input_key: str = "input"

    def __post_init__(self) -> None:
        """Refuse settings that select nothing, and labels that cannot belong to one task."""
        if not self.exemplars or len(self.exemplars) != len(self.vectors):
            msg = f"Got {len(self.exemplars)} examples and {len(self.vectors)} vectors but expected as many, and some"
            raise InvalidInputError(msg)
        if self.k < 1 or not 0 <= self.diversity <= 1 or (self.per_label is not None and self.per_label < 1):
            got = f"k={self.k}, diversity={self.diversity}, per_label={self.per_label}"
            msg = f"Got {got} but expected k >= 1, a diversity in [0, 1], and per_label >= 1 or None"
            raise InvalidInputError(msg)
        try:
            check_labels(self.labels)
        except ValueError as error:
            raise InvalidInputError(str(error)) from error

    @classmethod
    def fit(
        cls,
        texts: Sequence[str] | Sequence[tuple[str, str]],
        labels: Sequence[Any],
        *,
        encoder: str | Encoder | Embeddings,
        predictions: Sequence[Prediction | None] | None = None,
        vectors: NDArray[np.float32] | None = None,
        k: int = 4,
        diversity: float = 0.0,
        per_label: int | None = None,
        input_key: str = "input",
    ) -> Self:
        """Encode and index labelled examples.

        Args:
            texts: The examples, or pairs of texts.
            labels: Their true labels.
            encoder: Encoder of the texts, usually the small model's own (`scorer.encoder`).
            predictions: The small model's prediction for each example, from a fit that had not seen it.
            vectors: The examples' vectors, if the encoder has made them before (`SmallModelScorer.example_vectors`).
            k: Number of examples to choose.
            diversity: Weight of variety. 0 takes the nearest examples, 1 those that differ most.
            per_label: Largest number of examples of one label.
            input_key: The variable of a few-shot prompt that holds the text.

        Raises:
            InvalidInputError: Lengths differ, there are no examples, or something is no text. Or the labels have
                several types, or `encoder` is no encoder.
        """
        encoder = as_encoder(encoder)
        texts, labels = read_inputs(texts, may_be_empty=True), column_of(labels, "labels")
        views = [None] * len(texts) if predictions is None else list(predictions)
        if not len(texts) == len(labels) == len(views) or not len(texts):
            msg = f"Got {len(texts)} texts, {len(labels)} labels and {len(views)} predictions but expected one of each"
            raise InvalidInputError(msg)
        exemplars = [
            Exemplar(input=text, label=label, prediction=view)
            for text, label, view in zip(texts, clean_labels(labels), views, strict=True)
        ]
        return cls(
            encoder=encoder,
            exemplars=tuple(exemplars),
            vectors=encoder.encode(texts) if vectors is None else vectors,
            k=k,
            diversity=diversity,
            per_label=per_label,
            input_key=input_key,
        )

    def select_batch(self, texts: Sequence[str]) -> list[list[Exemplar]]:
        """The examples for each text, nearest first.

        Args:
            texts: The inputs.
        """
        if not texts:
            return []
        _check_texts(texts)
        queries = self.encoder.encode(list(texts))
        found = self._nearest(queries, max(self.k * POOL, 50) if self.diversity else self.k)
        return [
            [self.exemplars[row] for row in self._differing(query, near)]
            for query, near in zip(queries, found.tolist(), strict=True)
        ]

    def _nearest(self, queries: NDArray[np.float32], pool: int) -> NDArray[np.int64]:
        """Row numbers of shape [n queries, at most `pool`], nearest first.

        No label comes more than `per_label` times.
        """
        if self.per_label is None:
            return self._search(queries, pool)[1]
        found = [(rows, *search(queries, self.per_label)) for rows, search in self._by_label]
        alike = np.concatenate([similarities for _, similarities, _ in found], axis=1)
        rows = np.concatenate([own[near] for own, _, near in found], axis=1)
        order = np.lexsort((rows, -alike))[:, :pool]
        return np.take_along_axis(rows, order, axis=1)

    def _differing(self, query: NDArray[np.float32], near: list[int]) -> list[int]:
        if not self.diversity:
            return near
        chosen = maximal_marginal_relevance(query, list(self.vectors[near]), 1 - self.diversity, self.k)
        return [near[number] for number in chosen]

    @cached_property
    def labels(self) -> tuple[Any, ...]:
        """The labels of the examples, each once."""
        return each_once(one.label for one in self.exemplars)

    @cached_property
    def _search(self) -> Search:
        return _index(self.vectors)

    @cached_property
    def _by_label(self) -> list[tuple[NDArray[np.int64], Search]]:
        """The row numbers of each label, and a search among them."""
        rows_of: dict[Any, list[int]] = {}
        for row, exemplar in enumerate(self.exemplars):
            rows_of.setdefault(exemplar.label, []).append(row)
        return [(np.array(rows), _index(self.vectors[rows])) for rows in rows_of.values()]

    @override
    def select_examples(self, input_variables: Mapping[str, str]) -> list[dict[str, Any]]:
        """The examples for one input, as dicts with `input`, `label` and `prediction` (as text).

        Raises:
            InvalidInputError: There are several variables, and none has the name `input_key`.
        """
        given = dict(input_variables)
        if self.input_key not in given and len(given) != 1:
            msg = (
                f"Got the variables {', '.join(map(repr, given)) or 'none'} but expected {self.input_key!r}, or one "
                "alone; say which is the text with input_key="
            )
            raise InvalidInputError(msg)
        text = given[self.input_key] if self.input_key in given else next(iter(given.values()))
        return [
            {
                "input": exemplar.input,
                "label": str(exemplar.label),
                "prediction": "" if exemplar.prediction is None else str(exemplar.prediction),
            }
            for exemplar in self.select_batch([text])[0]
        ]

    @override
    def add_example(self, example: Mapping[str, str]) -> None:
        """Refuse to add an example, because a selector is frozen.

        Raises:
            InvalidInputError: Always. `with_example` gives a selector that has the example.
        """
        msg = "Got an example to add but a selector is frozen; use selector = selector.with_example(text, label)"
        raise InvalidInputError(msg)

    def with_example(self, text: str, label: Any, prediction: Prediction | None = None) -> Self:
        """The same selector with one more example to choose from."""
        exemplar = Exemplar(input=text, label=as_label(label), prediction=prediction)
        vectors = np.concatenate([self.vectors, self.encoder.encode([text])])
        return replace(self, exemplars=(*self.exemplars, exemplar), vectors=vectors)

    def as_retriever(self) -> ExemplarRetriever:
        """The same selector as a LangChain retriever. Its documents have `label` and `prediction` in their metadata."""
        return ExemplarRetriever(selector=self)

    def __getstate__(self) -> dict[str, Any]:
        indexes = {"_search", "_by_label"}  # they are not picklable
        return {key: value for key, value in self.__dict__.items() if key not in indexes}


def _index(vectors: NDArray[np.float32]) -> Search:
    from dsplus_chains.encoding.neighbor_index import neighbor_index  # faiss loads on first use

    return neighbor_index(vectors)


def _check_texts(texts: Sequence[Any]) -> None:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"Got texts[{row}]={what_came(text)} but expected a string"
            raise InvalidInputError(msg)
