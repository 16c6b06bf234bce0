"""`AskingScorer` is the part of scorers that ask another Runnable about each text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import override

from dsplus_chains.running.batch_runnable import by_row
from dsplus_chains.running.flow import Ask, Configs, Manager
from dsplus_chains.running.usage import traced_each
from dsplus_chains.schema import Prediction, WiringError, labels_outside
from dsplus_chains.scoring.base_scorer import BaseScorer


class AskingScorer(BaseScorer):
    """A scorer that asks a Runnable about a batch of texts, in one batch."""

    @property
    @abstractmethod
    def _asks(self) -> Runnable[Any, Any]:
        """The Runnable that is asked."""

    @property
    @abstractmethod
    def _known(self) -> Sequence[Any] | None:
        """The labels that it may predict. None allows any."""

    @abstractmethod
    def _prediction(self, output: Any) -> Prediction:
        """The prediction in what the Runnable returned."""

    def _asked(self, text: str) -> Any:
        """What the Runnable is called with for a text."""
        return text

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self._asks.config_specs

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        return [self._read(output) for output in self._asks.batch([self._asked(text) for text in texts])]

    @override
    def _predictions(
        self, records: list[dict[str, Any]], managers: list[Manager], configs: Configs, kwargs: dict[str, Any]
    ) -> Generator[Any, Any, list[Any]]:
        children = traced_each(configs, managers, "small", drafts=True)
        asked = yield Ask(self._asks, [self._asked(record["input"]) for record in records], children, managers=managers)
        return by_row(self._read, asked.outputs)

    def _read(self, output: Any) -> Prediction:
        if isinstance(output, Exception):
            raise output
        prediction = self._prediction(output)
        if self._known is not None and labels_outside([prediction.label], [None, *self._known]):
            msg = f"Got the label {prediction.label!r} from the small model but expected one of {self._known}"
            raise WiringError(msg)
        return prediction
