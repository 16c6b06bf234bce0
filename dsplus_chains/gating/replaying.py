"""Replaying answers that a large model gave before: the real branch, over an arm that repeats them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row

_KEY = "recorded_answer"
"""Where in a record the answer waits for the arm."""


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """One answer that was given before.

    Args:
        value: The label that it names; None if there is none.
        error: Why there is none; None if there is one.
    """

    value: Any
    error: Exception | None = None


class RecordedArm(ComputingRunnable[dict[str, Any], Any]):
    """Answers with what was recorded for a record; raises why there is nothing.

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
) -> list[dict[str, Any]]:
    """The records that a chain would return, had the large model given these answers.

    Args:
        scored: The records of the small model, one a row.
        answers: The large model's, one a row.
        threshold: What the chain keeps answers by.
        max_ood_score: What it defers by, beside the threshold.
        fusion: What weighs both models' answers; None: the large model's is the last word.

    Raises:
        Exception: Why a deferred row has no answer, if the small model has none either.

    Example:
        >>> from dsplus_chains import Prediction
        >>> unsure = {"input": "win", "prediction": Prediction(label="ham", confidence=0.6)}
        >>> replay([unsure], [RecordedAnswer(value="spam")], threshold=0.9)[0]["answer"]
        'spam'
    """
    chain: Any = ConfidenceBranch(large=RecordedArm(), threshold=threshold, max_ood_score=max_ood_score)
    if fusion is not None:
        chain = chain | fusion
    waiting = [{**record, _KEY: answer} for record, answer in zip(scored, answers, strict=True)]
    return [{key: value for key, value in record.items() if key != _KEY} for record in chain.batch(waiting)]


def _answer(record: Mapping[str, Any]) -> Any:
    recorded: RecordedAnswer = record[_KEY]
    if recorded.error is not None:
        raise recorded.error
    return recorded.value
