"""`PartAsker` asks an app with structured output for the fields that are not known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import ValidationError
from typing_extensions import override

from dsplus_chains.integrations.app_hints import takes_variable, with_hints
from dsplus_chains.integrations.narrowing import narrowed
from dsplus_chains.integrations.part_schema import part_of, whole_of
from dsplus_chains.running.batch_runnable import BatchRunnable, by_row
from dsplus_chains.running.flow import Ask, Configs, Flow, Manager
from dsplus_chains.running.usage import traced
from dsplus_chains.schema import Prediction, fence, percent

KNOWN_KEY = "dsplus_known"
"""The configurable value that carries a row's known fields to the step that tells them."""

VARIABLE = "known"
"""The variable of a prompt that takes the known fields."""


class PartAsk(NamedTuple):
    """One row: what the app is called with, and what is known already."""

    value: Any
    known: Mapping[str, Prediction]
    """The known fields."""
    only_rest: bool
    """Whether all fields with a small model are known."""


class PartAnswer(NamedTuple):
    """What came of one row."""

    whole: Any
    """The app's answer, with the known fields in it."""
    known: tuple[str, ...]
    """The fields that the app was not asked for."""


class _Arms(dict[Any, Runnable[Any, Any]]):
    """The app for each set of fields. They are made again where the asker is copied to."""

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _Arms, ()


class PartAsker(BatchRunnable[Any, Any]):
    """Asks for what is not known. Rows that lack the same fields are one batch of the app.

    It takes `PartAsk`s and returns `PartAnswer`s. If nothing is known, the app itself is called, with its own schema.
    Where the known fields and the answer make no valid whole, the app is asked again, for all fields.

    Args:
        app: The app. It ends in ``chat_model.with_structured_output(...)``.
        target: What the app answers with: a pydantic class, a TypedDict or a JSON schema.
        names: The fields of the target.
        rest_prompt: The prompt for rows whose fields with a small model are all known. It gets what the app gets, and
            the known fields: all of them as `known`, and each as the variable of its name. None: the app's own prompt.

    Source: Data Shunt+ (arXiv 2406.15471), prompt transferring. That it goes field by field is ours.
    """

    takes_record: ClassVar[bool] = False

    app: Runnable[Any, Any]
    target: Any
    names: tuple[str, ...]
    rest_prompt: Runnable[Any, Any] | None = None

    @cached_property
    def _arms(self) -> _Arms:
        return _Arms()

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return self.app.config_specs

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        results: list[Any] = [None] * len(inputs)
        groups: dict[Any, list[int]] = {}
        for row, ask in enumerate(inputs):
            groups.setdefault((frozenset(ask.known), ask.only_rest and bool(ask.known)), []).append(row)
        again = []
        for key, rows in groups.items():
            outputs = yield from self._asked(key, rows, inputs, run_manager, config, kwargs)
            for row, output in zip(rows, outputs, strict=True):
                (results[row],) = by_row(partial(self._whole, inputs[row].known), [output])
                if isinstance(results[row], ValidationError) and not isinstance(output, Exception):
                    again.append(row)
        if again:
            whole = [ask._replace(known={}) for ask in inputs]
            outputs = yield from self._asked((frozenset(), False), again, whole, run_manager, config, kwargs)
            for row, output in zip(again, outputs, strict=True):
                (results[row],) = by_row(partial(self._whole, {}), [output])
        return results

    def _asked(
        self,
        key: tuple[frozenset[str], bool],
        rows: list[int],
        asks: list[PartAsk],
        run_manager: list[Manager],
        config: Configs,
        kwargs: dict[str, Any],
    ) -> Flow:
        """The app's answers to the rows that lack the same fields."""
        named = key[1] and self.rest_prompt is not None
        configs = [_with_known(config[row], run_manager[row], asks[row].known, named=named) for row in rows]
        return (yield Ask(self._arm(*key), [asks[row].value for row in rows], configs, kwargs)).outputs

    def _whole(self, known: Mapping[str, Prediction], output: Any) -> PartAnswer:
        """The whole answer, of what is known and of what the app has said."""
        if isinstance(output, Exception):
            raise output
        values = {name: prediction.value for name, prediction in known.items()}
        return PartAnswer(whole_of(self.target, values, output) if known else output, tuple(known))

    def check(self) -> None:
        """Find out whether the app can be asked for a part.

        Raises:
            ValueError: It cannot.
        """
        self._made(frozenset(self.names[:1]), rest=False)
        if self.rest_prompt is not None:
            self._made(frozenset(self.names[:1]), rest=True)

    def _arm(self, known: frozenset[str], rest: bool) -> Runnable[Any, Any]:
        """The app for the fields that are not known."""
        if (known, rest) not in self._arms:
            self._arms[known, rest] = self._made(known, rest=rest)
        return self._arms[known, rest]

    def _made(self, known: frozenset[str], *, rest: bool) -> Runnable[Any, Any]:
        arm = self.app
        if known:
            part = part_of(self.target, [name for name in self.names if name not in known])
            arm = narrowed(self.app, part, prompt=self.rest_prompt if rest else None)
        others = known if rest and self.rest_prompt is not None else frozenset[str]()
        told = takes_variable(arm, VARIABLE, *others)
        if not known and not told:
            return arm
        return with_hints(arm, "soft" if told else "system", key=KNOWN_KEY, variable=VARIABLE, others=others)


def known_text(known: Mapping[str, Prediction]) -> str:
    """The known fields in words, for the large model. Empty if nothing is known.

    Example:
        >>> print(known_text({"category": Prediction(label="billing", confidence=0.97)}))
        Known already, read off the input by a small model trained for it:
        <known>
        - category: billing (97 % sure)
        </known>
        Take this as given.
    """
    if not known:
        return ""
    lines = [
        f"- {name}: {_on_one_line(prediction)} ({percent(prediction.confidence)} sure)"
        for name, prediction in known.items()
    ]
    return "\n".join(
        [
            "Known already, read off the input by a small model trained for it:",
            fence("\n".join(lines), tag="known"),
            "Take this as given.",
        ]
    )


def _on_one_line(prediction: Prediction) -> str:
    return " ".join(str(prediction.value).split())


def _with_known(config: Any, run_manager: Any, known: Mapping[str, Prediction], *, named: bool) -> Any:
    """A row's config with what is known in it, in words. With `named` each known field is in it, too."""
    child = traced(config, run_manager, "part")
    by_name = {name: _on_one_line(prediction) for name, prediction in known.items()} if named else {}
    told = {**by_name, VARIABLE: known_text(known)}
    return {**child, "configurable": {**child.get("configurable", {}), KNOWN_KEY: told}}
