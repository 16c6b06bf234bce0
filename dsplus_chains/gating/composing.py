"""`ComposingRun`: the rows of a batch on their way to the models that were chosen for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.runnables import Runnable, RunnablePassthrough
from numpy.typing import NDArray

from dsplus_chains.running.arm import input_of, leading_step, merge_answer
from dsplus_chains.running.flow import Ask, Configs, Manager
from dsplus_chains.running.interrupts import raise_interrupts
from dsplus_chains.running.outage import is_callers_bug, is_unfit_input
from dsplus_chains.running.telling import LOGGER
from dsplus_chains.running.usage import UsageCollector, watched
from dsplus_chains.schema import InvalidInputError, ModelChoice, WiringError, describe_error
from dsplus_chains.scoring.record_start import start_record

Group = tuple[str, tuple[int, ...]]
"""A model's name, and the numbers of the rows that are asked of it."""


class ComposingRun:
    """The records of a batch. A failed row holds its error.

    Args:
        models: The models by name.
        inputs: One input a row.
        managers: One run manager a row.
        config: One config a row.
        input_key: The key of a dict under which the text is.
    """

    def __init__(
        self,
        models: Mapping[str, Runnable[Any, Any]],
        inputs: Sequence[Any],
        managers: Sequence[Manager],
        config: Configs,
        *,
        input_key: str,
    ) -> None:
        self._models = models
        self._managers = managers
        self._config = config
        self._waiting: dict[int, list[str]] = {}
        self._errors: dict[int, list[Exception]] = {}
        self._given: dict[int, Any] = {}
        self._collectors = [UsageCollector() for _ in inputs]
        self.results: list[Any] = [_started(value, input_key) for value in inputs]
        self._rows = [row for row, record in enumerate(self.results) if not isinstance(record, Exception)]

    @property
    def texts(self) -> list[str]:
        """The texts of the rows that can be read."""
        return [self.results[row]["input"] for row in self._rows]

    def prefer(self, foreseen: NDArray[np.float64], order: NDArray[np.int64], honesty: tuple[float, float]) -> None:
        """Note for each row which models are asked, and in which order.

        Args:
            foreseen: The foreseen scores, of shape [rows, models].
            order: The numbers of the models in the order in which they are asked.
            honesty: Intercept and slope from the foreseen score of a chosen model to what it will get.
        """
        names, (shift, slope) = list(self._models), honesty
        for row, told, numbers in zip(self._rows, foreseen.tolist(), order.tolist(), strict=True):
            self._waiting[row] = [names[number] for number in numbers]
            self._errors[row] = []
            first = numbers[0]
            self.results[row]["choice"] = ModelChoice(
                model=names[first],
                expected=shift + slope * told[first],
                foreseen=dict(zip(names, told, strict=True)),
            )

    def groups(self, kwargs: dict[str, Any]) -> list[tuple[Group, Ask]]:
        """One batch for each model that is next for some rows."""
        asked: dict[str, list[int]] = {}
        for row, names in self._waiting.items():
            asked.setdefault(names[0], []).append(row)
        return [
            ((name, tuple(asked[name])), self._ask(name, asked[name], kwargs)) for name in self._models if name in asked
        ]

    def hear(self, group: Group, outputs: Sequence[Any]) -> None:
        """Take a model's answers. A row that it failed at waits for the next model."""
        name, rows = group
        for row, output in zip(rows, outputs, strict=True):
            try:
                if isinstance(output, Exception):
                    raise output
                self.results[row] = merge_answer(
                    self.results[row], output, source=name, collector=self._collectors[row]
                )
                del self._waiting[row]
            except Exception as error:
                raise_interrupts([error])
                self._failed(row, name, error)

    def _ask(self, name: str, rows: list[int], kwargs: dict[str, Any]) -> Ask:
        model = self._models[name]
        fed = input_of(model, "auto")
        inputs = [fed(self.results[row]) for row in rows]
        self._given.update(zip(rows, inputs, strict=True))
        configs = [watched(self._config[row], self._managers[row], name, self._collectors[row]) for row in rows]
        return Ask(model, inputs, configs, kwargs)

    def _failed(self, row: int, name: str, error: Exception) -> None:
        """Note a failure. If no model is left, or the error is a bug, the row has failed."""
        self._errors[row].append(error)
        left = self._waiting[row][1:]
        if not left or self._is_bug(row, name, error):
            del self._waiting[row]
            self.results[row] = error
            for earlier in self._errors[row][:-1]:
                error.add_note(f"Another model had failed before: {describe_error(earlier)}")
            return
        LOGGER.warning("The model %r failed, and %r stands in: %s", name, left[0], describe_error(error))
        self._waiting[row] = left
        choice: ModelChoice = self.results[row]["choice"]
        self.results[row]["choice"] = choice.model_copy(
            update={"model": left[0], "expected": None, "failed": {**choice.failed, name: describe_error(error)}}
        )

    def _is_bug(self, row: int, name: str, error: Exception) -> bool:
        """Whether a model has failed because of the caller's code, or cannot take what it was called with."""
        first = leading_step(self._models[name], RunnablePassthrough)
        unfit = is_unfit_input(error, first, self._given[row])
        return isinstance(error, WiringError) or is_callers_bug(error) or unfit


def _started(value: Any, input_key: str) -> Any:
    try:
        return start_record(value, input_key=input_key)
    except InvalidInputError as error:
        return error
