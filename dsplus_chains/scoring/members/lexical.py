"""`LexicalMember` is a logistic regression on the words and letter groups of a text, weighted by TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from dsplus_chains.schema import Stored, brief_repr
from dsplus_chains.scoring.members.head import Targets, fit_head, one_thread, stored_head
from dsplus_chains.scoring.members.member import Arrays, TextBatch, log_softmax
from dsplus_chains.scoring.members.novelty import novelties
from dsplus_chains.scoring.members.stored_arrays import StoredArrays
from dsplus_chains.scoring.members.term_weigher import LONGEST, SHORTEST, TermWeigher

_VIEWS: tuple[dict[str, Any], ...] = (
    {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    {"analyzer": "char_wb", "ngram_range": (SHORTEST, LONGEST)},
)
"""The first view has words and pairs of words. The second has groups of two to five letters within words."""

EXACT = 2500
"""Largest number of examples for an exact regression. With more, it works on the main directions."""
DIRECTIONS = 600


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class LexicalFeatures:
    """The TF-IDF of training texts, in few enough coordinates for a dense fit.

    Args:
        vocabularies: The n-grams of each view, in the order of its columns.
        idf: The inverse document frequency of each column, with all views side by side.
        reduced: The training texts, of shape [n, directions].
        basis: Map from columns to directions, of shape [columns, directions].
    """

    vocabularies: tuple[tuple[str, ...], ...]
    idf: NDArray[np.float32]
    reduced: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Self:
        """Learn the vocabularies and reduce the texts.

        Up to `EXACT` texts, the reduction is a rotation into the space that the texts span. A penalised regression
        there equals the one in all columns (the representer theorem). With more texts it is a truncated SVD.

        Args:
            texts: The training texts.
            seed: Seed of the truncated SVD.
        """
        # A term of a single text says little, and many texts have very many such terms.
        least = 1 if len(texts) <= EXACT else 2
        views = [TfidfVectorizer(sublinear_tf=True, min_df=least, dtype=np.float32, **view) for view in _VIEWS]
        table = sparse.hstack([view.fit_transform(texts) for view in views]).tocsr()
        with one_thread():
            if len(texts) <= EXACT:
                values, left = np.linalg.eigh((table @ table.T).toarray().astype(np.float64))
                kept = values > 1e-6
                roots = np.sqrt(values[kept])
                reduced, basis = left[:, kept] * roots, table.T @ (left[:, kept] / roots)
            else:
                left, roots, right = randomized_svd(table, DIRECTIONS, n_iter=3, random_state=seed)
                reduced, basis = left * roots, right.T
        return cls(
            vocabularies=tuple(tuple(view.get_feature_names_out().tolist()) for view in views),
            idf=np.concatenate([view.idf_ for view in views]).astype(np.float32),
            reduced=reduced.astype(np.float32),
            basis=np.ascontiguousarray(basis, dtype=np.float32),
        )

    def part(self, rows: NDArray[np.int64]) -> Self:
        """The same coordinates, for some of the training texts."""
        return replace(self, reduced=self.reduced[rows])


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class LexicalMember:
    """A linear model over TF-IDF columns.

    Args:
        vocabularies: The n-grams of each view.
        idf: The inverse document frequency of each column.
        weight: Weights of shape [columns, classes].
        bias: Biases of shape [classes].
    """

    kind: ClassVar[str] = "lexical"

    vocabularies: tuple[tuple[str, ...], ...]
    idf: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        features: LexicalFeatures,
        targets: Targets,
        n_classes: int,
        *,
        c: float = 10.0,
        near: LexicalMember | None = None,
    ) -> Self:
        """Fit the regression in the reduced coordinates, and write it in terms of the columns.

        Args:
            features: Features of the training texts.
            targets: The class number of each text, or its distribution.
            n_classes: Number of classes.
            c: The inverse strength of the L2 penalty.
            near: A member that was fitted on many of the same texts, from which the search begins.
        """
        begin = None if near is None else stored_head(near.weight.T @ features.basis, near.bias)
        head = fit_head(features.reduced, targets, n_classes, c=c, start=begin)
        weight, bias = (part.numpy().astype(np.float32) for part in (head.weight, head.bias))
        return cls(
            vocabularies=features.vocabularies,
            idf=features.idf,
            weight=features.basis @ weight.T,
            bias=bias,
        )

    @cached_property
    def _weigher(self) -> TermWeigher:
        words, groups = self.vocabularies
        return TermWeigher(words, groups, self.idf)

    def log_proba(self, batch: TextBatch) -> NDArray[np.float64]:
        """Log-probabilities of shape [n texts, classes]."""
        return log_softmax(self._weigher.transform(batch.texts) @ self.weight + self.bias)

    @cached_property
    def _terms(self) -> frozenset[str]:
        return frozenset(self.vocabularies[0])

    def novelties(self, batch: TextBatch) -> NDArray[np.float64]:
        """How new the words of each text are; see `novelties`."""
        return novelties(batch.texts, self._terms)

    def __getstate__(self) -> dict[str, Any]:
        made = ("_weigher", "_terms")  # the first grows with use
        return {key: value for key, value in self.__dict__.items() if key not in made}

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything to keep, as settings of JSON values and as arrays."""
        vocabularies = [list(vocabulary) for vocabulary in self.vocabularies]
        return {"vocabularies": vocabularies}, {"idf": self.idf, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: StoredArrays) -> Self:
        """The member from its state."""
        vocabularies = tuple(map(tuple, _Settings.model_validate(settings).vocabularies))
        columns = sum(map(len, vocabularies))
        return cls(
            vocabularies=vocabularies,
            idf=arrays.floats("idf", (columns,)),
            weight=arrays.floats("weight", (columns, arrays.n_classes)),
            bias=arrays.floats("bias", (arrays.n_classes,)),
        )


def _check_once(vocabulary: list[str]) -> list[str]:
    if len(set(vocabulary)) < len(vocabulary):
        msg = "Got a term twice in a vocabulary but expected each once"
        raise ValueError(msg)
    return vocabulary


class _Settings(Stored):
    vocabularies: Annotated[
        list[Annotated[list[str], Field(min_length=1), AfterValidator(_check_once)]],
        Field(min_length=len(_VIEWS), max_length=len(_VIEWS)),
    ]
