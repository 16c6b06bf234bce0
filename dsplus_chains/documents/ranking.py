"""`SentenceRanker`: the sentence of a text that is most about a question."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from dsplus_chains.documents.passages import AT_ONCE, Split, cut
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.running.batch_runnable import ComputingRunnable
from dsplus_chains.schema import (
    NOTHING_TO_READ,
    InvalidInputError,
    Passage,
    SubtaskResult,
    check_sound,
    read_text,
    what_came,
)

_WORD = re.compile(r"\w+")

MOST_SENTENCES = 10_000
"""How many sentences of a text are compared, by default. A thick book has about as many."""


class SentenceRanker(ComputingRunnable[Any, SubtaskResult]):
    """Finds the sentence of a text that is most similar to a question.

    The whole batch takes one call of the encoder. With more than 10,000 sentences it takes several.

    In: a record with a text as its `input`, and a question. Out: a `SubtaskResult`. Its value is the sentence as it
    stands in the text. Its confidence is the sentence's score. Its passage is the sentence with its number and offset.
    As the `run` of a `MapSubtask`, it says how relevant each part is.

    The score is in [0, 1]. It is a weighted mean of two numbers. The first is the cosine of both vectors, or 0 if that
    is negative. The second is the share of the question's letters in words that the sentence has as well. It is there
    because names and numbers are poorly embedded. The score ranks sentences. It is not the probability that the
    sentence answers the question.

    Args:
        encoder: What turns texts into vectors, for instance a small model's `encoder`.
        query: Where the question is: a key of the record, or a quick function of it.
        split: Where to cut the text: "sentences", "paragraphs", a text splitter, or a function. None leaves it whole.
        word_weight: Weight of the common words in the score. 0 takes the vectors alone, 1 the words alone.
        max_parts: Most sentences of a text. A text with more is refused.

    Raises:
        InvalidInputError: The input holds no text or no question, or one of them holds half of a character. Or the text
            has more than `max_parts` sentences.

    Example:
        >>> class Letters:
        ...     name = "letters"
        ...
        ...     def encode(self, texts):
        ...         return np.array([[text.count(letter) for letter in "abcdefgh"] for text in texts], dtype=np.float32)
        >>> ranker = SentenceRanker(encoder=Letters())
        >>> record = {"input": "The box is nice. The battery broke.", "question": "What about the battery?"}
        >>> ranker.invoke(record).value
        'The battery broke.'
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = SubtaskResult

    encoder: Encoder
    query: str | Callable[[dict[str, Any]], str] = "question"
    split: Split | None = "sentences"
    word_weight: float = Field(default=0.5, ge=0, le=1)
    max_parts: int = Field(default=MOST_SENTENCES, ge=1)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        results: list[Any] = []
        tasks: dict[int, tuple[str, list[Passage]]] = {}
        waiting = 0
        for row, value in enumerate(inputs):
            try:
                query, passages = self._read(value)
            except Exception as error:
                results.append(error)
                continue
            results.append(SubtaskResult(source="small", error=NOTHING_TO_READ))
            if passages:
                tasks[row] = query, passages
                waiting += len(passages)
            if waiting >= AT_ONCE:
                self._rank(tasks, results)
                tasks, waiting = {}, 0
        self._rank(tasks, results)
        return results

    def _rank(self, tasks: Mapping[int, tuple[str, list[Passage]]], results: list[Any]) -> None:
        """Put the best passage of each row into the results. It takes one call of the encoder."""
        vectors = self._encode([text for query, passages in tasks.values() for text in (query, *_texts(passages))])
        for row, (query, passages) in tasks.items():
            results[row] = self._best(query, passages, vectors)

    def _read(self, value: Any) -> tuple[str, list[Passage]]:
        """The question, and the passages that may answer it."""
        text = read_text(value, purpose="rank the sentences of")
        record = value if isinstance(value, Mapping) else {"input": value}
        query = self.query(dict(record)) if callable(self.query) else record.get(self.query)
        if not isinstance(query, str) or not query.strip():
            where = "from the function `query`" if callable(self.query) else f"under {self.query!r}"
            msg = f"Got {what_came(query)} {where} but expected a question (a text) to rank sentences by"
            raise InvalidInputError(msg)
        check_sound(query, where="the question " if callable(self.query) else f"{self.query!r}: ")
        if self.split is not None:
            return query, cut(text, self.split, max_parts=self.max_parts)
        return query, [Passage(text=text, start=0, number=1)] if text.strip() else []

    def _encode(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """A vector of length one for each text. A text that comes more than once is encoded once."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        vectors = np.asarray(self.encoder.encode(distinct), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return dict(zip(distinct, vectors / np.where(lengths > 0, lengths, 1), strict=True))

    def _best(self, query: str, passages: list[Passage], vectors: Mapping[str, NDArray[np.float32]]) -> SubtaskResult:
        cosines = np.stack([vectors[passage.text] for passage in passages]) @ vectors[query]
        words = np.array([word_overlap(query, passage.text) for passage in passages])
        scores = (1 - self.word_weight) * np.clip(cosines, 0, 1) + self.word_weight * words
        best = int(np.argmax(scores))  # among equals the first
        return SubtaskResult(
            value=passages[best].text, confidence=float(scores[best]), source="small", passages=(passages[best],)
        )


def word_overlap(query: str, text: str) -> float:
    """The share of a question's letters in words that a text has as well. Long words count for more.

    Example:
        >>> word_overlap("Who won in 2004?", "In 2004 nobody won.")
        0.75
    """
    wanted = set(_WORD.findall(query.casefold()))
    shared = wanted & set(_WORD.findall(text.casefold()))
    return sum(map(len, shared)) / sum(map(len, wanted)) if wanted else 0.0


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]
