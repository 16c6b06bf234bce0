"""`AnswerJudge` says which answers are right, where they are no labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from dsplus_chains.running.telling import LOGGER
from dsplus_chains.schema import InvalidInputError, Prediction, as_cell, canonical_text, column_of, what_came
from dsplus_chains.verifying.candidate_verdict import as_verdict

Judge: TypeAlias = Callable[..., Any] | Runnable[Any, Any]
"""What says whether an answer is right. It is a function of the answer and the row's label or reference. With a third
parameter it also gets the row's record. Or it is a verifier, which judges all answers in one batch. It gets the record
with `candidate` and `reference`. An answer that it cannot check counts as wrong, and a warning tells how many."""


class AnswerJudge:
    """Judges answers to rows, each answer to a row once.

    Answers that are judged become labels. True is a right answer, and False a wrong one. So whatever compares labels
    goes on as before, with True as the label of each row.

    Args:
        judge: Function or verifier; see `Judge`.
        references: One label or reference for each row, of any type.
        records: The records of the rows, or other values.

    Example:
        >>> decide = AnswerJudge(lambda answer, reference: abs(answer - reference) < 0.1, [3.14, 2.72])
        >>> decide.answers([3.1, 3.1]), decide.labels
        ([True, False], [True, True])
    """

    def __init__(self, judge: Judge, references: Any, records: Sequence[Any] | None = None) -> None:
        self.references = column_of(references, "labels")
        self._judge = judge
        n = len(self.references)
        rows = [{}] * n if records is None else [row if isinstance(row, Mapping) else {} for row in records]
        self._records = rows if len(rows) == n else [{}] * n  # the caller tells of unequal lengths
        self._known: dict[tuple[int, str], bool] = {}
        self._held: list[Any] = []

    @property
    def labels(self) -> list[bool]:
        """The label of each row, once its answers are judged."""
        return [True] * len(self.references)

    def answers(self, answers: Sequence[Any]) -> list[bool | None]:
        """Whether each answer is right. None where there is none, or where it is an error.

        Raises:
            InvalidInputError: There are more or fewer answers than rows.
        """
        if len(answers) != len(self.references):
            msg = f"Got {len(answers)} answers for {len(self.references)} labels but expected one for each"
            raise InvalidInputError(msg)
        plain = [str(answer.text) if isinstance(answer, BaseMessage) else answer for answer in answers]
        there = [row for row, one in enumerate(plain) if not (one is None or isinstance(one, Exception))]
        keys = {row: (row, self._key(plain[row])) for row in there}
        asked = [row for row in there if keys[row] not in self._known]
        for row, right in zip(asked, self._asked(asked, plain), strict=True):
            self._known[keys[row]] = right
        return [self._known[keys[row]] if row in keys else None for row in range(len(plain))]

    def predictions(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Predictions of whether the small model is right, with its confidence."""
        right = self.answers([prediction.value for prediction in predictions])
        return [
            Prediction(label=one, confidence=known.confidence, ood_score=known.ood_score, training=known.training)
            for one, known in zip(right, predictions, strict=True)
        ]

    def _key(self, answer: Any) -> str:
        """What tells an answer from others. If it is no plain data, this is which object it is."""
        try:
            return f"{type(answer).__name__}:{canonical_text(answer)}"
        except ValueError:
            self._held.append(answer)  # as long as it lives, no other object has its number
            return f"object {id(answer)}"

    def _asked(self, rows: list[int], answers: list[Any]) -> list[bool]:
        judge = self._judge
        if isinstance(judge, Runnable):
            questions = [
                {**self._records[row], "candidate": answers[row], "reference": self.references[row]} for row in rows
            ]
            verdicts = [as_verdict(output) for output in (judge.batch(questions) if questions else [])]
            if n := sum(not one.is_supported for one in verdicts):
                LOGGER.warning("The judge could not check %d of %d answers, which count as wrong", n, len(verdicts))
            return [one.passed for one in verdicts]
        takes_record = _needs(judge) > 2
        found = []
        for row in rows:
            record = (self._records[row],) if takes_record else ()
            right = as_cell(judge(answers[row], self.references[row], *record))  # NumPy has a bool of its own
            if not isinstance(right, bool):
                msg = f"Got {what_came(right)} from the judge but expected True or False"
                raise InvalidInputError(msg)
            found.append(right)
        return found


def _needs(function: Callable[..., Any]) -> int:
    """How many arguments a function needs by their place."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # some functions of C do not tell
        return 2
    by_place = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in by_place and one.default is Parameter.empty for one in parameters)
