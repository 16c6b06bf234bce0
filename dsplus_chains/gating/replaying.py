"""Replays recorded answers of a large model, through the real branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row

_KEY = "recorded_answer"
"""The key under which a record holds the answer for the arm."""


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """One answer that was given before.

    Args:
        value: The label that it names. None if there is none.
        error: The reason why there is none. None if there is one.
    """

    value: Any
    error: Exception | None = None


class RecordedArm(ComputingRunnable[dict[str, Any], Any]):
    """Answers with the recorded answer of a record, or raises its recorded error.

    Example:
        >>> RecordedArm().invoke({"recorded_answer": RecordedAnswer(value="spam")})
        'spam'
    """

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return by_row(_answer, inputs)


def replay(
    scored: Sequence[Mapping[str, Any]],
    answers: Sequence[RecordedAnswer],
    *,
    threshold: Any,
    max_ood_score: float | None = None,
    fusion: AnswerFusion | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """The records that a chain would return if the large model gave these answers.

    Args:
        scored: The small model's records, one for each row.
        answers: The large model's answers, one for each row.
        threshold: The chain's threshold.
        max_ood_score: The chain's limit on the distance, beside the threshold.
        fusion: Fusion that weighs both models' answers. With None the large model's answer is final.
        return_exceptions: Give the error of a row that neither model answers in its place, instead of raising it.

    Raises:
        Exception: A deferred row has no answer, and the small model has none either. It is the recorded error.

    Example:
        >>> from dsplus_chains import Prediction
        >>> unsure = {"input": "win", "prediction": Prediction(label="ham", confidence=0.6)}
        >>> replay([unsure], [RecordedAnswer(value="spam")], threshold=0.9)[0]["answer"]
        'spam'
    """
    chain: Any = ConfidenceBranch(large=RecordedArm(), wants="record", threshold=threshold, max_ood_score=max_ood_score)
    if fusion is not None:
        chain = chain | fusion
    waiting = [{**record, _KEY: answer} for record, answer in zip(scored, answers, strict=True)]
    records = chain.batch(waiting, return_exceptions=return_exceptions)
    return [record if isinstance(record, Exception) else _without_key(record) for record in records]


def _without_key(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != _KEY}


def _answer(record: Mapping[str, Any]) -> Any:
    recorded: RecordedAnswer = record[_KEY]
    if recorded.error is not None:
        raise recorded.error
    return recorded.value
