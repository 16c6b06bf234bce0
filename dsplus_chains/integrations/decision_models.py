"""Small models as LangChain's decision models, and decision models as small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from langchain_core.runnables import Runnable
from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.integrations.app_text import NoText, text_reader
from dsplus_chains.integrations.decision_parts import BaseDecisionModel
from dsplus_chains.running.batch_runnable import BatchRunnable, by_row
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    Threshold,
    WiringError,
    is_kept,
    same_label,
    what_came,
)
from dsplus_chains.scoring.coercing import as_scorer
from dsplus_chains.scoring.runnable import RunnableScorer


def _scorer(value: Any) -> Any:
    return as_scorer(value, labels=None, input_key="input", on_error="raise")[0]


class ScorerDecisionModel(BatchRunnable[Any, Any], BaseDecisionModel):
    """A small model as a decision model of LangChain, such as `ModelRouterMiddleware` takes.

    It answers a `Choice` by the route of its label, and a `Noul` by its probability of True. A batch is one call of the
    small model. The confidence of a choice is the probability of its route.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        routes: The choice for each label. By default the labels are the choices.
        threshold: Confidence from which on the label counts. It may be a dict by label.
        otherwise: The choice for what is less sure. None: the label always counts.
        text: Where the text is in the state. See `shunt`.
        model: Name in the answers.

    Raises:
        ImportError: LangChain is older than its decision models.
        WiringError: A label has no route, or a route is none of the choices. Or a question is of another kind.

    Source: Data Shunt (arXiv 2406.15471): what the small model is not sure of goes to the large one.

    Example:
        >>> from langchain_core.decisions import Choice  # doctest: +SKIP
        >>> small = lambda text: Prediction(label="chat", confidence=0.95)  # doctest: +SKIP
        >>> router = ScorerDecisionModel(scorer=small, routes={"chat": "fast", "code": "strong"})  # doctest: +SKIP
        >>> route = Choice(instructions="Which model?", criteria={"fast": None, "strong": None})  # doctest: +SKIP
        >>> router.invoke({"state": "hi", "questions": {"route": route}}).choices["route"].choice  # doctest: +SKIP
        'fast'
    """

    run_type: ClassVar[str | None] = "llm"
    takes_record: ClassVar[bool] = False

    scorer: Annotated[Runnable[Any, Any], BeforeValidator(_scorer)]
    routes: Mapping[Any, str] | None = None
    threshold: Threshold = 0.0
    otherwise: str | None = None
    text: str | Callable[[Any], Any] = "auto"
    model: str = "dsplus_chains"

    @property
    @override
    def _provider(self) -> str:
        return "dsplus_chains"

    @override
    def _classify(self, state: Any, questions: Any) -> Any:
        return self.invoke({"state": state, "questions": questions})

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results = by_row(self._text, inputs)
        rows = [row for row, value in enumerate(results) if not isinstance(value, Exception)]
        configs = [traced(config[row], run_manager[row], "small") for row in rows]
        records = (yield Ask(self.scorer, [results[row] for row in rows], configs)).outputs
        for row, record in zip(rows, records, strict=True):
            if isinstance(record, Exception):
                results[row] = record
            else:
                (results[row],) = by_row(partial(self._response, record["prediction"]), [inputs[row]])
        return results

    def _text(self, request: Any) -> str:
        text = text_reader(self.text)(request["state"])
        if isinstance(text, NoText):
            msg = f"Got a state that a small model must not judge: {text.why}"
            raise InvalidInputError(msg)
        return text

    def _response(self, prediction: Prediction, request: Any) -> Any:
        from langchain_core.decisions import ClassifierResponse

        answers = {name: self._answer(prediction, question) for name, question in request["questions"].items()}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})

    def _answer(self, prediction: Prediction, question: Any) -> dict[str, Any]:
        if question.type == "choice":
            return self._choice(prediction, list(question.criteria))
        if question.type == "noul" and isinstance(prediction.label, bool):
            sure = prediction.confidence or 0.0
            said = prediction.probabilities or {prediction.label: sure, not prediction.label: 1 - sure}
            return {"type": "noul", "noul": said.get(True, 0.0)}
        msg = (
            f"Got a question of type {question.type!r} but expected a Choice, or a Noul for a small model whose labels "
            f"are True and False. The label is {what_came(prediction.label)}"
        )
        raise WiringError(msg)

    def _choice(self, prediction: Prediction, choices: Sequence[str]) -> dict[str, Any]:
        known = prediction.probabilities or {prediction.label: prediction.confidence or 0.0}
        shares = dict.fromkeys(choices, 0.0)
        for label, share in known.items():
            shares[self._route(label, choices)] += share
        sure = self.otherwise is None or is_kept(prediction, self.threshold)
        chosen = self._route(prediction.label, choices) if sure else self.otherwise
        if chosen not in shares:
            msg = f"Got otherwise={chosen!r} but expected one of the choices {list(choices)}"
            raise WiringError(msg)
        confidence = min(1.0, shares[chosen])
        return {"type": "choice", "choice": chosen, "probabilities": shares, "confidence": confidence}

    def _route(self, label: Any, choices: Sequence[str]) -> str:
        routes = [(label, str(label))] if self.routes is None else self.routes.items()
        for one, route in routes:
            if same_label(one, label) and route in choices:
                return route
        msg = f"Got the label {label!r} without a route among the choices {list(choices)}. Give routes="
        raise WiringError(msg)


class DecisionModelScorer(RunnableScorer):
    """A decision model of LangChain as a small model.

    Its answer to one `Choice` is the prediction, with its probabilities. A `Noul` is a prediction of True or False.

    Args:
        decision_model: Any decision model.
        question: The `Choice` or `Noul` that it is asked of each text.

    Example:
        >>> scorer = DecisionModelScorer(jury, Choice(instructions="Tone?", criteria={}))  # doctest: +SKIP
    """

    def __init__(self, decision_model: Any, question: Any, **settings: Any) -> None:
        labels = tuple(question.criteria) if question.type == "choice" else (True, False)
        super().__init__(run=_Asked(decision_model=decision_model, question=question), labels=labels, **settings)


class _Asked(BatchRunnable[Any, Any]):
    """One question to a decision model, for each text of a batch."""

    takes_record: ClassVar[bool] = False

    decision_model: Runnable[Any, Any]
    question: Any

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        requests = [{"state": text, "questions": {"label": self.question}} for text in inputs]
        configs = [traced(one, manager, "decision") for one, manager in zip(config, run_manager, strict=True)]
        outputs = (yield Ask(self.decision_model, requests, configs)).outputs
        return [output if isinstance(output, Exception) else _prediction(output.answers["label"]) for output in outputs]


def _prediction(answer: Any) -> Prediction:
    if answer.type == "noul":
        label = answer.noul >= 0.5
        probabilities = {True: answer.noul, False: 1 - answer.noul}
        return Prediction(label=label, confidence=probabilities[label], probabilities=probabilities)
    return Prediction(label=answer.choice, confidence=answer.confidence, probabilities=answer.probabilities)
