"""`ChatModelScorer`: a small chat model, as a scorer that knows how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from dsplus_chains._arm import feed, leading_prompt
from dsplus_chains._logprobs import told_confidence
from dsplus_chains._runnable import AsyncManagers, Configs, Managers
from dsplus_chains.labels import Labels, as_label
from dsplus_chains.schema import BundleError, InvalidInputError, Prediction
from dsplus_chains.scoring.base import BaseScorer
from dsplus_chains.scoring.record import with_prediction

Coerced = Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]


class _Call(NamedTuple):
    """One batch of one Runnable; who drives the steps makes it, synchronously or not."""

    runnable: Runnable[Any, Any]
    inputs: list[Any]
    configs: Configs
    kwargs: dict[str, Any]


class _Said(NamedTuple):
    """One message of the chat model to one text (or the error in its place), and what was read from it."""

    row: int
    message: Any
    answer: Any


Steps = Generator[Any, list[Any], None]
"""Yields the calls to be made, is sent what they gave, and yields the list of results at last."""


class ChatModelScorer(BaseScorer):
    """Lets a small chat model stand where `SmallModelScorer` stands: one batch of the chat model for a batch of texts.

    In: a text, or a dict that holds one. Out: the record with the chat model's answer as prediction. An answer that
    the parser cannot read has no label, and one without a confidence is deferred like it. If the call for a text
    fails, that text fails alone.

    The confidence comes from one of two places; choose the threshold on data for either:

    * ``"logprobs"``: the probability of the whole answer, which is the exponential of the sum of its tokens'
      log-probabilities. Right for labels; a long answer is improbable however good it is. The chat model must send
      them, as `ChatOpenAI(logprobs=True)` does; without them the confidence is None. A `LocalChatModel` with
      `choices` bound tells the probability of each choice, and they are used.
    * ``"agreement"``: the share of `samples` answers that agree, for answers that are no labels too. A tie goes to
      the answer that came first. A sample that failed or cannot be read agrees with nothing. It needs samples that
      can differ: a temperature above 0, no fixed seed, and no LangChain cache, which would give out one answer
      `samples` times.

    Args:
        chat_model: Any Runnable from a prompt to a message.
        prompt: Any Runnable from the record to a prompt: ``HintPromptBuilder(..., hints="none")``, or a
            `ChatPromptTemplate`, which is fed from `{input}` if it has one variable.
        parser: What reads a label from a message, as `LabelParser` does. None takes the text as it is.
        confidence: "logprobs" or "agreement".
        samples: How often each text is asked for "agreement".
        same: Whether two answers agree; quick, as it runs between calls. None compares exactly where the labels are
            known, else without regard to case and white space.
        labels: The labels it may predict, an answer beside which counts as one that cannot be read; None takes the
            parser's, if it has any.
        input_key: The key of a dict under which the text is.

    Raises:
        pydantic.ValidationError: An unknown keyword, or "agreement" of a chat model with temperature 0 or a seed.
        InvalidInputError: The input holds no text, or an answer is no string, integer or boolean.

    Source: agreement is self-consistency (Wang et al. 2022, arXiv 2203.11171), and as a confidence for cascades
    Yue et al. 2023 (arXiv 2310.03094).

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> prompt = ChatPromptTemplate.from_template("What is the capital of {country}? Answer with its name alone.")
        >>> small = FakeListChatModel(responses=["Bern", "Geneva", "bern"])
        >>> scorer = ChatModelScorer(chat_model=small, prompt=prompt, confidence="agreement", samples=3)
        >>> scorer.invoke("Switzerland", {"max_concurrency": 1})["prediction"].confidence  # doctest: +ELLIPSIS
        0.666...
    """

    chat_model: Coerced
    prompt: Coerced
    parser: Coerced | None = None
    confidence: Literal["logprobs", "agreement"]
    samples: int = Field(default=5, ge=2)
    same: Callable[[Any, Any], bool] | None = None
    labels: Labels | None = None

    @model_validator(mode="before")
    @classmethod
    def _ask_the_parser_for_labels(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("labels") is None:
            return {**data, "labels": getattr(data.get("parser"), "labels", None)}
        return data

    @model_validator(mode="after")
    def _samples_can_differ(self) -> Self:
        temperature, seed = _setting(self.chat_model, "temperature"), _setting(self.chat_model, "seed")
        if self.confidence == "agreement" and (temperature == 0 or seed is not None):
            msg = (
                f"Got a chat model with temperature={temperature!r} and seed={seed!r}, whose samples are all the same, "
                "so that they would always agree; give it a temperature above 0 (such as 0.7) and no seed"
            )
            raise ValueError(msg)
        return self

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        parts = [self.prompt, self.chat_model, *([] if self.parser is None else [self.parser])]
        return get_unique_config_specs(spec for part in parts for spec in part.config_specs)

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [record["prediction"] for record in self.batch(texts)]

    @override
    def _run(self, inputs: list[Any], run_manager: Managers, config: Configs, **kwargs: Any) -> list[Any]:
        steps = self._steps(inputs, run_manager, config, kwargs)
        call = next(steps)
        while isinstance(call, _Call):
            call = steps.send(call.runnable.batch(call.inputs, call.configs, return_exceptions=True, **call.kwargs))
        return list(call)

    @override
    async def _arun(self, inputs: list[Any], run_manager: AsyncManagers, config: Configs, **kwargs: Any) -> list[Any]:
        steps = self._steps(inputs, run_manager, config, kwargs)
        call = next(steps)
        while isinstance(call, _Call):
            outputs = await call.runnable.abatch(call.inputs, call.configs, return_exceptions=True, **call.kwargs)
            call = steps.send(outputs)
        return list(call)

    def _steps(self, inputs: list[Any], run_manager: Any, config: Configs, kwargs: dict[str, Any]) -> Steps:
        """All that is done with a batch, but for the calls themselves."""

        def call(runnable: Runnable[Any, Any], pairs: list[tuple[int, Any]], **more: Any) -> _Call:
            configs = [patch_config(config[row], callbacks=run_manager[row].get_child("small")) for row, _ in pairs]
            return _Call(runnable, [value for _, value in pairs], configs, more)

        results, rows = self._start(inputs)
        asked = _sort_out(results, rows, self._feed([results[row] for row in rows]))
        if asked:
            asked = _sort_out(results, [row for row, _ in asked], (yield call(self.prompt, asked)))
        if asked:
            n = self.samples if self.confidence == "agreement" else 1
            messages = yield call(self.chat_model, [pair for pair in asked for _ in range(n)], **kwargs)
            owners = [row for row, _ in asked for _ in range(n)]
            said = [
                _Said(row, message, None if isinstance(message, Exception) else message)
                for row, message in zip(owners, messages, strict=True)
            ]
            heard = [place for place, one in enumerate(said) if one.answer is not None]
            if self.parser is not None and heard:
                answers = yield call(self.parser, [(said[place].row, said[place].message) for place in heard])
                for place, answer in zip(heard, answers, strict=True):
                    said[place] = said[place]._replace(answer=answer)
            for number, (row, _) in enumerate(asked):
                try:
                    prediction = self._prediction(said[number * n : (number + 1) * n])
                    results[row] = with_prediction(results[row], prediction)
                except Exception as error:
                    results[row] = error
        yield results

    def _feed(self, records: list[dict[str, Any]]) -> list[Any]:
        """The records as the prompt wants them, or an error where one lacks a variable."""
        template = leading_prompt(self.prompt)
        fed: list[Any] = []
        for record in records:
            try:
                fed.append(feed(template, record, whose="the small model"))
            except InvalidInputError as error:
                fed.append(error)
        return fed

    def _prediction(self, said: list[_Said]) -> Prediction:
        """What all that was said to one text comes to."""
        failed = [one.message for one in said if isinstance(one.message, Exception)]
        if len(failed) == len(said):
            raise failed[0]
        answers = [self._read(one.answer) for one in said]
        if self.confidence == "logprobs":
            return from_logprobs(said[0].message, answers[0], labels=self.labels)
        same = self.same or (_is_same_text if self.labels is None else _is_same_label)
        return from_votes(answers, same=same, labels=self.labels)

    def _read(self, answer: Any) -> Any:
        """An answer as a label or a text; None where it is neither."""
        if isinstance(answer, OutputParserException):
            return None
        if isinstance(answer, Exception):
            raise answer
        value = str(answer.text) if isinstance(answer, BaseMessage) else as_label(answer)
        if not isinstance(value, (str, int, NoneType)):
            msg = f"Got the answer {value!r:.80} ({type(value).__name__}) but expected a string, integer or boolean"
            raise InvalidInputError(msg)
        if isinstance(value, str):
            value = value.strip() or None
        known = self.labels is None or any(_is_same_label(value, label) for label in self.labels)
        return value if known else None

    def save(self, path: str | Path) -> None:
        """Refuse: a chat model and its parser are objects of yours.

        Raises:
            BundleError: Always; it says what to do.
        """
        msg = (
            f"Got a chat model to save in {str(path)!r}, which cannot be done without pickle: it, its prompt and its "
            "parser are objects of yours. Build ChatModelScorer(chat_model=...) anew from your own settings"
        )
        raise BundleError(msg)


def from_logprobs(message: Any, answer: Any, *, labels: Sequence[Any] | None = None) -> Prediction:
    """A prediction whose confidence is the probability of the whole answer, as its message tells it.

    Args:
        message: The chat model's, with `response_metadata["logprobs"]` as OpenAI sends it, or `choice_logprobs`.
        answer: What was read from it; None if there was nothing to be read.
        labels: The labels, where they are known.

    Example:
        >>> from langchain_core.messages import AIMessage
        >>> tokens = [{"token": "neg", "logprob": -0.1}, {"token": "ative", "logprob": 0.0}]
        >>> message = AIMessage("negative", response_metadata={"logprobs": {"content": tokens}})
        >>> str(from_logprobs(message, "negative"))
        'negative (90 %)'
    """
    if answer is None:
        return Prediction(label=None)
    told = getattr(message, "response_metadata", None) or {}
    choices = told.get("choice_logprobs")
    if isinstance(choices, Mapping):
        names = tuple(choices) if labels is None else tuple(labels)
        whole = {str(name) for name in names} == set(choices) and not any(map(math.isnan, choices.values()))
        if answer in names and whole:
            table = {name: math.exp(choices[str(name)]) for name in names}
            return Prediction(label=answer, confidence=table[answer], probabilities=table)
    return Prediction(label=answer, confidence=told_confidence(message))


def from_votes(
    answers: Sequence[Any], *, same: Callable[[Any, Any], bool], labels: Sequence[Any] | None = None
) -> Prediction:
    """A prediction whose confidence is the share of answers that agree on it; None agrees with nothing.

    The probabilities are the shares, of all labels if they are known; they sum to less than 1 by the share of None.

    Args:
        answers: As many as there were samples, in order.
        same: Whether two answers agree.
        labels: The labels, where they are known.

    Example:
        >>> prediction = from_votes(["spam", "ham", None, "spam"], same=lambda a, b: a == b)
        >>> prediction.label, prediction.confidence, dict(prediction.probabilities)
        ('spam', 0.5, {'spam': 0.5, 'ham': 0.25})
    """
    groups: list[list[Any]] = []
    for answer in answers:
        if answer is not None:
            group = next((group for group in groups if same(group[0], answer)), None)
            if group is None:
                groups.append([answer])
            else:
                group.append(answer)
    if not groups:
        return Prediction(label=None)
    most = max(groups, key=len)  # the first of several
    shares = dict.fromkeys(labels or (), 0.0) | {group[0]: len(group) / len(answers) for group in groups}
    return Prediction(label=most[0], confidence=len(most) / len(answers), probabilities=shares)


def _is_same_label(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _is_same_text(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return " ".join(one.casefold().split()) == " ".join(other.casefold().split())
    return _is_same_label(one, other)


def _sort_out(results: list[Any], rows: list[int], outputs: list[Any]) -> list[tuple[int, Any]]:
    """Outputs with their rows; an error becomes the result of its row instead."""
    for row, output in zip(rows, outputs, strict=True):
        if isinstance(output, Exception):
            results[row] = output
    return [(row, output) for row, output in zip(rows, outputs, strict=True) if not isinstance(output, Exception)]


def _setting(model: Any, name: str) -> Any:
    """A setting of a chat model, or what was bound in its place."""
    while isinstance(model, RunnableBindingBase):
        if name in model.kwargs:
            return model.kwargs[name]
        model = model.bound
    return getattr(model, name, None)
