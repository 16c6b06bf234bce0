"""`ChatModelScorer` uses a small chat model as a scorer that knows how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Self

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from dsplus_chains.running.arm import feed, leading_prompt, leading_step
from dsplus_chains.running.endings import is_whole
from dsplus_chains.running.flow import Ask, Configs, Manager
from dsplus_chains.running.prompted import PromptedModel
from dsplus_chains.running.telling import tell_once
from dsplus_chains.running.usage import traced
from dsplus_chains.schema import BundleError, InvalidInputError, Labels, Prediction, as_label, same_label, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.votes import from_logprobs, from_votes, is_same_text

Coerced = Annotated[Runnable[Any, Any], BeforeValidator(coerce_to_runnable)]


class _Said(NamedTuple):
    """One message of the chat model for one text, or the error in its place, and the answer read from it."""

    row: int
    message: Any
    answer: Any


class ChatModelScorer(BaseScorer):
    """Puts a small chat model in the place of `SmallModelScorer`. A batch of texts is one batch of the chat model.

    It takes a text, or a dict that holds one. It returns the record with the chat model's answer as prediction. An
    answer that the parser cannot read has no label. It is deferred, like an answer without a confidence. If the call
    for a text fails, that text fails alone.

    The confidence comes from one of two sources. Choose the threshold on data for either one.

    * ``"logprobs"`` is the probability of the whole answer. It is the exponential of the sum of the tokens'
      log-probabilities. It suits labels. A long answer is improbable, however good it is. The chat model must
      send the log-probabilities, as `ChatOpenAI(logprobs=True)` and `ChatOllama(logprobs=True)` do. The server of
      llama.cpp and llama-cpp-python send them in forms that are read too. Without them the confidence is None.
      That is told once. A `LocalChatModel` with bound `choices` sends the probability of each choice, which is then
      used.
    * ``"agreement"`` is the share of `samples` answers that agree, and also serves answers that are no labels. A tie
      goes to the answer that came first. A sample that failed or cannot be read agrees with nothing. The samples must
      be able to differ, so use a temperature above 0 and no fixed seed. Use no LangChain cache either, because it would
      return one answer `samples` times.

    Args:
        chat_model: Any Runnable from a prompt to a message.
        prompt: Any Runnable from the record to a prompt, such as ``HintPromptBuilder(..., hints="none")``. A
            `ChatPromptTemplate` with one variable gets `{input}` for it.
        parser: Parser that reads a label from a message, such as `LabelParser`. None takes the text as it is.
        confidence: "logprobs" or "agreement".
        samples: Number of questions for each text, for "agreement".
        same: Function that tells whether two answers agree. It runs between calls, so it should be quick. With None,
            labels are compared exactly if they are known. Else case and white space do not count.
        labels: The labels that it may predict. Any other answer counts as one that cannot be read. None takes the
            parser's labels, if it has any.
        input_key: The key of a dict under which the text is.

    Raises:
        pydantic.ValidationError: A keyword is unknown, or "agreement" gets a chat model with temperature 0 or a seed.
            Or the prompt has no variables, or the chat model is an app that begins with a prompt.
        InvalidInputError: The input holds no text, or an answer is no string, integer or boolean.

    Source: agreement is self-consistency (Wang et al. 2022, arXiv 2203.11171). Yue et al. 2023 (arXiv 2310.03094) use
    it as a confidence for cascades.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_core.prompts import ChatPromptTemplate
        >>> prompt = ChatPromptTemplate.from_template("What is the capital of {country}? Answer with its name alone.")
        >>> small = FakeListChatModel(responses=["Bern", "Geneva", "bern"])
        >>> scorer = ChatModelScorer(chat_model=small, prompt=prompt, confidence="agreement", samples=3)
        >>> scorer.invoke("Switzerland", {"max_concurrency": 1})["prediction"].confidence  # doctest: +ELLIPSIS
        0.666...
    """

    chat_model: PromptedModel
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

    @model_validator(mode="after")
    def _prompt_shows_the_text(self) -> Self:
        template = leading_prompt(self.prompt)
        if template is not None and not (template.input_variables or template.optional_variables):
            msg = "Got a prompt without variables, which never shows the text; put {input} into it, in single braces"
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
    def _predictions(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        def ask(runnable: Runnable[Any, Any], pairs: list[tuple[int, Any]], **more: Any) -> Ask:
            children = [traced(configs[row], managers[row], "small", drafts=True) for row, _ in pairs]
            return Ask(runnable, [value for _, value in pairs], children, more)

        results: list[Any] = [None] * len(records)
        fed = _sort_out(results, range(len(records)), self._feed(records))
        prompts = (yield ask(self.prompt, fed)).outputs
        asked = _sort_out(results, [row for row, _ in fed], prompts)
        n = self.samples if self.confidence == "agreement" else 1
        messages = (yield ask(self.chat_model, [pair for pair in asked for _ in range(n)], **kwargs)).outputs
        owners = [row for row, _ in asked for _ in range(n)]
        said = [
            _Said(row, message, None if isinstance(message, Exception) else message)
            for row, message in zip(owners, messages, strict=True)
        ]
        heard = [place for place, one in enumerate(said) if one.answer is not None]
        if self.parser is not None:
            answers = (yield ask(self.parser, [(said[place].row, said[place].message) for place in heard])).outputs
            for place, answer in zip(heard, answers, strict=True):
                said[place] = said[place]._replace(answer=answer)
        for number, (row, _) in enumerate(asked):
            try:
                results[row] = self._prediction(said[number * n : (number + 1) * n])
            except Exception as error:
                results[row] = error
        if self.confidence == "logprobs":
            _tell_if_unsure(results, self.chat_model)
        return results

    def _feed(self, records: list[dict[str, Any]]) -> list[Any]:
        """The records in the form that the prompt needs, or an error where one lacks a variable."""
        template = leading_prompt(self.prompt)
        fed: list[Any] = []
        for record in records:
            try:
                fed.append(feed(template, record, whose="the small model"))
            except InvalidInputError as error:
                fed.append(error)
        return fed

    def _prediction(self, said: list[_Said]) -> Prediction:
        """The prediction from all answers to one text."""
        failed = [one.message for one in said if isinstance(one.message, Exception)]
        if len(failed) == len(said):
            raise failed[0]
        answers = [self._read(one.answer) for one in said]
        if self.confidence == "logprobs":
            return from_logprobs(said[0].message, answers[0], labels=self.labels)
        same = self.same or (is_same_text if self.labels is None else same_label)
        return from_votes(answers, same=same, labels=self.labels)

    def _read(self, answer: Any) -> Any:
        """An answer as a label or a text. None where it is neither."""
        if isinstance(answer, OutputParserException):
            return None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, BaseMessage) and not is_whole(answer):
            return None
        value = str(answer.text) if isinstance(answer, BaseMessage) else as_label(answer)
        if not isinstance(value, (str, int, NoneType)):
            msg = f"Got the answer {what_came(value)} but expected a string, integer or boolean"
            raise InvalidInputError(msg)
        if isinstance(value, str):
            value = value.strip() or None
        known = self.labels is None or any(same_label(value, label) for label in self.labels)
        return value if known else None

    def save(self, path: str | Path) -> None:
        """Refuse to save, because a chat model and its parser are the user's own objects.

        Raises:
            BundleError: Always. It says what to do.
        """
        msg = (
            f"Got a chat model to save in {str(path)!r}, which cannot be done without pickle: it, its prompt and its "
            "parser are objects of yours. Build ChatModelScorer(chat_model=...) anew from your own settings"
        )
        raise BundleError(msg)


def _tell_if_unsure(results: list[Any], model: Runnable[Any, Any]) -> None:
    """Tell once that a model sends no log-probabilities: without them, every answer of it is deferred."""
    said = [one for one in results if isinstance(one, Prediction) and one.label is not None]
    if said and all(one.confidence is None for one in said):
        name = type(leading_step(model)).__name__
        msg = (
            f"No log-probabilities came from {name}, so no answer has a confidence, and all are deferred. Ask for "
            "them, as ChatOpenAI(logprobs=True) does, or use confidence='agreement'"
        )
        tell_once(msg, "logprobs", name)


def _sort_out(results: list[Any], rows: Sequence[int], outputs: list[Any]) -> list[tuple[int, Any]]:
    """Outputs with their rows. An error becomes the result of its row instead."""
    for row, output in zip(rows, outputs, strict=True):
        if isinstance(output, Exception):
            results[row] = output
    return [(row, output) for row, output in zip(rows, outputs, strict=True) if not isinstance(output, Exception)]


def _setting(model: Any, name: str) -> Any:
    """A setting of a chat model, or the value that was bound in its place."""
    while isinstance(model, RunnableBindingBase):
        if name in model.kwargs:
            return model.kwargs[name]
        model = model.bound
    return getattr(model, name, None)
