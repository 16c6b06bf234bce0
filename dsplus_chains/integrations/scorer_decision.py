"""`ScorerDecisionModel` is a small model in the place of a decision model of LangChain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import BeforeValidator, ConfigDict
from typing_extensions import override

from dsplus_chains.integrations.app_text import TextPlace, text_reader
from dsplus_chains.integrations.decision_parts import BaseDecisionModel
from dsplus_chains.integrations.graph_nodes import given_text
from dsplus_chains.running.batch_runnable import BatchRunnable, by_row
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced_each
from dsplus_chains.schema import Prediction, Threshold, WiringError, is_kept, same_label, what_came
from dsplus_chains.scoring.coercing import as_scorer


def _scorer(value: Any) -> Any:
    return as_scorer(value, labels=None, input_key="input", on_error="raise")[0]


class ScorerDecisionModel(BaseDecisionModel):
    """A small model as a decision model of LangChain, such as `ModelRouterMiddleware` takes.

    It answers a `Choice` by the route of its label, and a `Noul` by its probability of True. A batch is one call of the
    small model. The confidence of a choice is the probability of its route.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        routes: The choice for each label. By default the labels are the choices.
        threshold: Confidence from which on the label counts. It may be a dict by label. It needs `otherwise`.
        otherwise: The choice for what is less sure. None: the label always counts.
        text: Where the text is in the state. See `shunt`.
        model: Name in the answers.

    Raises:
        ImportError: LangChain is older than its decision models (langchain-core 1.8).
        WiringError: A label has no route, or a route is none of the choices. Or a question is of another kind.

    Source: Data Shunt (arXiv 2406.15471): what the small model is not sure of goes to the large one.

    Example:
        >>> from langchain_core.decisions import Choice
        >>> def small(text):
        ...     return Prediction(label="chat", confidence=0.95)
        >>> router = ScorerDecisionModel(small, routes={"chat": "fast", "code": "strong"})
        >>> route = Choice(instructions="Which model?", criteria={"fast": None, "strong": None})
        >>> router.invoke({"state": "hi", "questions": {"route": route}}).choices["route"].choice
        'fast'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    scorer: Annotated[Runnable[Any, Any], BeforeValidator(_scorer)]
    routes: Mapping[Any, str] | None = None
    threshold: Threshold = None
    otherwise: str | None = None
    text: TextPlace = "auto"
    model: str = "dsplus_chains"

    def __init__(self, scorer: Any, **settings: Any) -> None:
        super().__init__(**{"scorer": scorer, **settings})
        if (self.threshold is None) != (self.otherwise is None):
            msg = f"Got threshold={self.threshold!r} and otherwise={self.otherwise!r} but expected both, or neither"
            raise ValueError(msg)

    @property
    @override
    def _provider(self) -> str:
        return "dsplus_chains"

    @override
    def _classify(self, state: Any, questions: Any) -> Any:
        return self._answering.invoke({"state": state, "questions": questions})

    @override
    async def _aclassify(self, state: Any, questions: Any) -> Any:
        return await self._answering.ainvoke({"state": state, "questions": questions})

    @override
    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        return self._answering.batch(inputs, self._configs(inputs, config), **kwargs)

    @override
    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        return await self._answering.abatch(inputs, self._configs(inputs, config), **kwargs)

    def _configs(self, inputs: list[Any], config: Any) -> list[RunnableConfig]:
        return [self._traced_config(each) for each in get_config_list(config, len(inputs))]

    @property
    def _answering(self) -> Answering:
        read = partial(given_text, text_reader(self.text))
        return Answering(name=self.get_name(), scorer=self.scorer, read=read, answer=self._response)

    def _response(self, prediction: Prediction, questions: Mapping[str, Any]) -> Any:
        from langchain_core.decisions import ClassifierResponse

        answers = {name: self._answer(prediction, question) for name, question in questions.items()}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})

    def _answer(self, prediction: Prediction, question: Any) -> dict[str, Any]:
        if question.type == "choice":
            return self._choice(prediction, list(question.criteria))
        if question.type == "noul" and isinstance(prediction.label, bool):
            return {"type": "noul", "noul": _shares(prediction).get(True, 1 - (prediction.confidence or 0.0))}
        msg = (
            f"Got a question of type {question.type!r} but expected a Choice, or a Noul for a small model whose labels "
            f"are True and False. Its label is {what_came(prediction.label)}"
        )
        raise WiringError(msg)

    def _choice(self, prediction: Prediction, choices: Sequence[str]) -> dict[str, Any]:
        shares = dict.fromkeys(choices, 0.0)
        for label, share in _shares(prediction).items():
            route = self._route(label, choices)
            shares[route] = min(1.0, shares[route] + share)
        if self.otherwise is None or is_kept(prediction, self.threshold):
            chosen = self._route(prediction.label, choices)
        elif self.otherwise in shares:
            chosen = self.otherwise
        else:
            msg = f"Got otherwise={self.otherwise!r} but expected one of the choices {list(choices)}"
            raise WiringError(msg)
        return {"type": "choice", "choice": chosen, "probabilities": shares, "confidence": shares[chosen]}

    def _route(self, label: Any, choices: Sequence[str]) -> str:
        routes = {label: str(label)} if self.routes is None else self.routes
        for one, route in routes.items():
            if same_label(one, label) and route in choices:
                return route
        msg = f"Got the label {label!r}, which has no route among the choices {list(choices)}. Give it one in routes="
        raise WiringError(msg)


class Answering(BatchRunnable[Any, Any]):
    """Questions about texts, which one call of a small model answers.

    Args:
        scorer: The small model.
        read: The function from a state to its text.
        answer: The function from a prediction and the questions to the response.
    """

    run_type: ClassVar[str | None] = "llm"
    takes_record: ClassVar[bool] = False

    scorer: Runnable[Any, Any]
    read: Callable[[Any], str]
    answer: Callable[[Prediction, Mapping[str, Any]], Any]

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results = by_row(lambda request: self.read(request["state"]), inputs)
        rows = [row for row, value in enumerate(results) if not isinstance(value, Exception)]
        configs = traced_each([config[row] for row in rows], [run_manager[row] for row in rows], "small")
        for row, record in zip(
            rows, (yield Ask(self.scorer, [results[row] for row in rows], configs)).outputs, strict=True
        ):
            results[row] = record
            if not isinstance(record, Exception):
                (results[row],) = by_row(partial(self.answer, record["prediction"]), [inputs[row]["questions"]])
        return results


def _shares(prediction: Prediction) -> Mapping[Any, float]:
    """The probability of each label that the small model names."""
    if prediction.probabilities is not None or prediction.label is None:
        return prediction.probabilities or {}
    return {prediction.label: prediction.confidence or 0.0}
