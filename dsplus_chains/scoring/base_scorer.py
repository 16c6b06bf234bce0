"""`BaseScorer` is the part that all scorers share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dsplus_chains.encoding.image_reading import undecodable
from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.breaker import CircuitBreaker
from dsplus_chains.running.flow import Configs, Flow, Manager, Request, Wait, Work
from dsplus_chains.running.interrupts import is_interrupt, raise_interrupts
from dsplus_chains.running.outage import is_callers_bug, is_wrong_value
from dsplus_chains.running.shared_calls import SharedCalls
from dsplus_chains.running.telling import LOGGER
from dsplus_chains.schema import (
    InvalidInputError,
    Prediction,
    ShuntRecord,
    WiringError,
    describe_error,
    html_box,
    shown,
)
from dsplus_chains.scoring.image_record import start_image_record
from dsplus_chains.scoring.record_start import InputKey, UnreadableTextError, start_record, with_prediction


class BaseScorer(BatchRunnable[Any, Any]):
    """A Runnable from an input to a record with a `prediction`.

    A subclass says how a batch of texts is predicted. An input may also be a pair of texts, as a tuple. It is read as a
    `TextPair`, which is a text too. With ``modality="image"`` an input is an image, in any form that `read_image`
    knows. It is read as an `ImageInput`, which is a text too: a short one that names the image by its bytes.

    Args:
        modality: What an input is, a "text" or an "image".
        input_key: Key of a dict under which the text is. Two keys, as a tuple, make a pair.
        on_error: With "raise", a text that the small model fails at is an error. With "defer" its prediction has no
            label, so that a branch asks the large model. The record then says why, under `small_error`. An empty text
            counts as one that the model fails at. A model that keeps failing is not asked for a while. A bug in your
            own code is raised in any case, also a `Prediction` of a confidence beyond 1.
        micro_batch: Most texts of different calls that share one model call; see `micro_batching`. With None, each
            call of the scorer is a model call. A scorer that asks another Runnable takes None alone.
    """

    input_type: ClassVar[Any] = str | tuple[str, str] | dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord
    reads_record: ClassVar[bool] = False
    """Whether it looks at more of the record than the text. A shunt around an app then hands on the app's own keys."""

    modality: Modality = "text"
    input_key: InputKey = "input"
    on_error: Literal["raise", "defer"] = "raise"
    micro_batch: int | None = Field(default=None, ge=2)

    _breaker: CircuitBreaker = PrivateAttr(default_factory=CircuitBreaker)

    def deferring(self) -> Self:
        """The same scorer, where a text that it fails at is deferred. What it holds is shared, and so are its locks."""
        return self.model_copy(update={"on_error": "defer"})

    @property
    def pairs(self) -> bool | None:
        """Whether it takes pairs of texts. None if it takes them as well as single texts."""
        return None

    def check_reads(self, modality: Modality, *, pairs: bool = False) -> None:
        """Refuse inputs of another kind than it reads, before they are read.

        Args:
            modality: What they are.
            pairs: Whether they are pairs of texts.

        Raises:
            InvalidInputError: It reads another kind.
        """
        if pairs and self.pairs is False:
            msg = "Got two columns, for pairs of texts, but the small model reads single texts. Name one with --text"
            raise InvalidInputError(msg)
        if modality != self.modality:
            told = f'Name their column with --{self.modality}, or say modality="{self.modality}"'
            msg = f"Got {modality}s but the small model reads {self.modality}s. {told}"
            raise InvalidInputError(msg)

    @model_validator(mode="after")
    def _reads_what_its_encoder_reads(self) -> Self:
        encoder = getattr(self, "encoder", None)
        if encoder is not None and modality_of(encoder) != self.modality:
            msg = f"Got modality={self.modality!r} and an encoder that reads {modality_of(encoder)}s; they must agree"
            raise ValueError(msg)
        if self.modality == "image" and not isinstance(self.input_key, str):
            msg = f"Got input_key={self.input_key!r} but expected one key, because there are no pairs of images"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _only_a_model_of_its_own_is_shared(self) -> Self:
        if self.micro_batch is not None and type(self)._predictions is not BaseScorer._predictions:
            msg = (
                f"Got micro_batch={self.micro_batch} for a {type(self).__name__}, which asks another Runnable. Each "
                "call of that has callbacks of its own. Leave it out, or let your model be a BaseScorer with _predict"
            )
            raise ValueError(msg)
        return self

    def micro_batching(self, size: int = 32) -> Self:
        """The same scorer for a web server, where calls that come together share one model call.

        What comes while the model is at work is in its next call. So nobody waits for others to come, and a scorer that
        is not busy is as fast as before. It works for threads, tasks and event loops alike. A call that fails is made
        again for fewer texts, so no request has the error of another. The model runs in a thread of its own, outside of
        the callers' context variables.

        Args:
            size: Most texts that share a model call. A batch that is larger has a call of its own.

        Example:
            >>> chain = data_shunt(scorer.micro_batching(), llm, ...)  # doctest: +SKIP
            >>> @web.get("/label")  # doctest: +SKIP
            ... async def label(text: str):
            ...     return (await chain.ainvoke(text))["answer"]
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, "micro_batch": size})

    @cached_property
    def _shared(self) -> SharedCalls:
        return SharedCalls(self._predict, self.micro_batch or 1)

    def _predicting(self, texts: list[str]) -> Request:
        """The request for one prediction for each text."""
        if self.micro_batch is None:
            return Work(self._predict, (texts,))
        return Wait(self._shared.join(texts))

    def _repr_html_(self) -> str:
        return html_box(type(self).__name__, self._facts())

    def _facts(self) -> dict[str, Any]:
        """What a notebook shows of the scorer, by name."""
        labels = getattr(self, "labels", None)
        known = {} if labels is None else {"labels": f"{len(labels)}: {shown(list(labels))}"}
        return {**known, "input_key": self.input_key, "on_error": self.on_error}

    @abstractmethod
    def _predict(self, texts: list[str]) -> list[Prediction]:
        """One prediction for each text."""

    def _predicted(self, record: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
        """The record with its prediction. A scorer that finds out more adds its keys here."""
        return with_prediction(record, prediction)

    def _predictions(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        """One prediction for each record, or the error of its row; a flow.

        Args:
            records: The records so far, one a row.
            managers: The run managers, one a row.
            configs: The configs, one a row.
            kwargs: What the chain was called with.
        """
        del managers, configs, kwargs
        texts = [record["input"] for record in records]
        try:
            predictions: list[Any] = yield self._predicting(texts)
        except Exception as error:
            if len(texts) == 1 or is_interrupt(error):
                raise
            if self.modality == "image" and (broken := (yield Work(undecodable, (texts,)))):
                sound = [text for row, text in enumerate(texts) if row not in broken]
                known = iter((yield self._predicting(sound)) if sound else [])
                return [broken[row] if row in broken else next(known) for row in range(len(texts))]
            if self.on_error == "raise":
                raise
            predictions = yield Work(self._one_by_one, (texts,))  # one text must not cost the others their prediction
        return predictions

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results, rows = self._start(inputs)
        refusal = self._breaker.refusal() if self.on_error == "defer" and rows else None
        if refusal is not None:
            predictions: list[Any] = [refusal] * len(rows)
        else:
            predictions = yield from self._heard(
                [results[row] for row in rows],
                [run_manager[row] for row in rows],
                [config[row] for row in rows],
                kwargs,
            )
        errors = []
        for row, prediction in zip(rows, predictions, strict=True):
            if not isinstance(prediction, Exception):
                results[row] = self._predicted(results[row], prediction)
            elif self.on_error == "raise" or is_bug(prediction):
                results[row] = prediction
            else:
                errors.append(prediction)
                results[row] = _deferred(results[row], prediction)
        if errors:
            n, first = len(errors), describe_error(errors[0])
            LOGGER.warning("The small model failed at %d of %d texts, which are deferred: %s", n, len(inputs), first)
        return results

    def _heard(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        """The predictions, with whether any row was answered told to the breaker."""
        if not records:
            return []
        try:
            predictions = yield from self._predictions(records, managers, configs, kwargs)
        except Exception as error:
            if self.on_error == "raise" or is_interrupt(error):
                self._breaker.abandon()
                raise
            predictions = [error] * len(records)
        except BaseException:  # a cancellation, or nobody waits any more: it says nothing of the model
            self._breaker.abandon()
            raise
        if self.on_error == "defer":
            failed = [prediction for prediction in predictions if isinstance(prediction, Exception)]
            self._breaker.heard(failed[0] if len(failed) == len(predictions) else None)
        return predictions

    def _start(self, inputs: list[Any]) -> tuple[list[Any], list[int]]:
        """The record of each input, or its error, and the numbers of the rows that can be predicted."""
        results: list[Any] = []
        rows: list[int] = []
        for row, value in enumerate(inputs):
            try:
                results.append(self._record_of(value))
                rows.append(row)
            except UnreadableTextError as error:
                results.append(error if self.on_error == "raise" else _deferred(error.record, error))
            except InvalidInputError as error:
                results.append(error)
        return results, rows

    def _record_of(self, value: Any) -> dict[str, Any]:
        if self.modality == "image":
            return start_image_record(value, input_key=str(self.input_key))
        return start_record(value, input_key=self.input_key, pairs=self.pairs)

    def _one_by_one(self, texts: list[str]) -> list[Any]:
        """Predictions of a batch that failed as a whole, each text by itself, while any succeeds."""
        breaker, predictions = CircuitBreaker(), list[Any]()
        for text in texts:
            refusal = breaker.refusal()
            if refusal is not None:
                predictions.append(refusal)
                continue
            try:
                predictions += self._predict([text])
                breaker.heard(None)
            except Exception as error:
                raise_interrupts([error])
                predictions.append(error)
                breaker.heard(error)
        return predictions


def is_bug(error: Exception) -> bool:
    """Whether a small model's error is a bug of whoever has made it or wired it. It is then no reason to defer."""
    return isinstance(error, WiringError) or is_callers_bug(error) or is_wrong_value(error)


def _deferred(record: dict[str, Any], error: Exception) -> dict[str, Any]:
    """The record of a text that the small model said nothing of, and why."""
    return {**with_prediction(record, Prediction(label=None)), "small_error": describe_error(error)}
