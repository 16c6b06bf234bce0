"""`BaseScorer` is the part that all scorers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Configs, Flow, Manager, Work
from dsplus_chains.schema import InvalidInputError, Prediction, ShuntRecord
from dsplus_chains.scoring.record_start import start_record, with_prediction


class BaseScorer(BatchRunnable[Any, Any]):
    """A Runnable from an input to a record with a `prediction`.

    A subclass says how a batch of texts is predicted.
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    input_key: str = Field(default="input", min_length=1)

    @abstractmethod
    def _predict(self, texts: list[str]) -> list[Prediction]:
        """One prediction for each text."""

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        return (yield Work(self._score, (inputs,)))

    def _score(self, inputs: list[Any]) -> list[Any]:
        results, rows = self._start(inputs)
        if rows:
            predictions = self._predict([results[row]["input"] for row in rows])
            for row, prediction in zip(rows, predictions, strict=True):
                results[row] = with_prediction(results[row], prediction)
        return results

    def _start(self, inputs: list[Any]) -> tuple[list[Any], list[int]]:
        """The record of each input, or its error, and the numbers of the rows that have a record."""
        results: list[Any] = []
        rows: list[int] = []
        for row, value in enumerate(inputs):
            try:
                results.append(start_record(value, input_key=self.input_key))
                rows.append(row)
            except InvalidInputError as error:
                results.append(error)
        return results, rows
