"""`DecisionModelScorer` uses a decision model of LangChain as a small model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable
from typing_extensions import override

from dsplus_chains.schema import Prediction, WiringError, as_label, what_came
from dsplus_chains.scoring.asking import AskingScorer

_QUESTION = "label"
"""The name of the one question that is asked."""


class DecisionModelScorer(AskingScorer):
    """A decision model of LangChain (langchain-core 1.8) in the place of a small model.

    It is asked one question of each text. The answer to a `Choice` is the label, with the model's confidence and
    probabilities. The answer to a `Noul` is True from one half on.

    Args:
        decision_model: Any decision model.
        question: The `Choice` or `Noul`.

    Raises:
        WiringError: The model answers another kind of question, or with a label that the question does not have.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> from langchain_core.decisions import Choice, ClassifierResponse
        >>> shares = {"kind": 0.1, "angry": 0.9}
        >>> said = {"type": "choice", "choice": "angry", "confidence": 0.9, "probabilities": shares}
        >>> def jury(request):  # a decision model
        ...     return ClassifierResponse(model="jury", answers={"label": said})
        >>> tone = Choice(instructions="Which tone?", criteria={"kind": None, "angry": None})
        >>> str(DecisionModelScorer(RunnableLambda(jury), question=tone).invoke("it broke!")["prediction"])
        'angry (90 %)'
    """

    decision_model: Runnable[Any, Any]
    question: Any

    def __init__(self, decision_model: Any, **settings: Any) -> None:
        super().__init__(**{"decision_model": decision_model, **settings})

    @property
    def labels(self) -> tuple[Any, ...]:
        """The labels that it may predict."""
        return tuple(self.question.criteria) if self.question.type == "choice" else (True, False)

    @property
    @override
    def _asks(self) -> Runnable[Any, Any]:
        return self.decision_model

    @property
    @override
    def _known(self) -> Sequence[Any] | None:
        return self.labels

    @override
    def _asked(self, text: str) -> dict[str, Any]:
        return {"state": text, "questions": {_QUESTION: self.question}}

    @override
    def _prediction(self, output: Any) -> Prediction:
        answer = output.answers[_QUESTION]
        if answer.type == "choice":
            return Prediction(
                label=as_label(answer.choice), confidence=answer.confidence, probabilities=answer.probabilities
            )
        if answer.type == "noul":
            label = answer.noul >= 0.5
            probabilities = {True: answer.noul, False: 1 - answer.noul}
            return Prediction(label=label, confidence=probabilities[label], probabilities=probabilities)
        msg = f"Got {what_came(answer)} but expected the answer to a Choice or a Noul. Ask the model one of them"
        raise WiringError(msg)
