"""Ways to combine results without a model: a template, a table, a vote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from langchain_core.runnables import Runnable
from pydantic import field_validator
from typing_extensions import override

from dsplus_chains.running.arm import over_record
from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import DSPlusError, InvalidInputError, SubtaskResult, same_label


class NoVoteError(DSPlusError):
    """No subtask found a value, so there is nothing to vote on."""


class ResultTemplate(ComputingRunnable[dict[str, Any], str]):
    """Fills a template with the values of results, by the subtasks' names, and with the record's `input`.

    Values are only inserted, so braces in them have no meaning. A skipped subtask is left empty. One that
    failed, or found nothing, reads "unknown".

    Args:
        template: A text with plain names in braces, ``"{domain}, {sentiment}"``. Double a brace that is to be printed.

    Raises:
        pydantic.ValidationError: The template reads inside values (``{a.b}``, ``{a[0]}``), formats them (``{a!r}``,
            ``{a:>9}``), or its braces do not match.

    Example:
        >>> found = {"domain": SubtaskResult(value="cards"), "tone": SubtaskResult(value="{angry}")}
        >>> ResultTemplate(template="{domain}, {tone}").invoke({"input": "…", "subtasks": found})
        'cards, {angry}'
    """

    template: str

    @field_validator("template")
    @classmethod
    def _plain_names(cls, template: str) -> str:
        for _, name, form, conversion in Formatter().parse(template):
            if name is not None and (form or conversion or not name.isidentifier()):
                told = "".join([name, f"!{conversion}" if conversion else "", f":{form}" if form else ""])
                msg = f"Got {{{told}}} in a template of results but expected the plain name of a subtask, or {{input}}"
                raise ValueError(msg)
        return template

    @property
    def names(self) -> list[str]:
        """The names in the template."""
        return [name for _, name, _, _ in Formatter().parse(self.template) if name is not None]

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return by_row(self._fill, inputs)

    def _fill(self, record: Mapping[str, Any]) -> str:
        return self.joined(record, str)

    def joined(self, record: Mapping[str, Any], literal: Callable[[str], str]) -> str:
        """The filled template. `literal` converts the template's own text between the values."""
        results = record.get("subtasks", {})
        values = {"input": record.get("input")} | {name: result.shown for name, result in results.items()}
        if missing := [name for name in self.names if name not in values]:
            msg = f"Got no result of {missing}, which the template names; there are {sorted(values)}"
            raise InvalidInputError(msg)
        return "".join(
            literal(text) + ("" if name is None else f"{values[name]}")
            for text, name, _, _ in Formatter().parse(self.template)
        )


def combining_step(value: Any) -> Runnable[Any, Any]:
    """The combining step as a Runnable. A text becomes a template over the results.

    Raises:
        WiringError: It is a bare model.
    """
    return ResultTemplate(template=value) if isinstance(value, str) else over_record(value)


def as_table(record: Mapping[str, Any]) -> dict[str, Any]:
    """A `combine` without a model: all values by name. None where a subtask failed, was skipped or found nothing.

    Example:
        >>> as_table({"subtasks": {"topic": SubtaskResult(value="cards"), "tone": SubtaskResult(source="skipped")}})
        {'topic': 'cards', 'tone': None}
    """
    return {name: result.value for name, result in record["subtasks"].items()}


def majority_vote(record: Mapping[str, Any]) -> Any:
    """A `combine` without a model: the value that most results have.

    Among values with equally many votes, the one with the highest confidence in one result wins. If this is equal too,
    the value declared first wins.

    Raises:
        NoVoteError: No result has a value.

    Example:
        >>> votes = [("spam", 0.6), ("ham", 0.9), ("spam", 0.7), (None, None), ("ham", None)]
        >>> results = {f"v{i}": SubtaskResult(value=v, confidence=c) for i, (v, c) in enumerate(votes)}
        >>> majority_vote({"subtasks": results})
        'ham'
    """
    ballots: list[list[SubtaskResult]] = []
    for result in record["subtasks"].values():
        if result.value is None:
            continue
        for ballot in ballots:
            if same_label(ballot[0].value, result.value):
                ballot.append(result)
                break
        else:
            ballots.append([result])
    if not ballots:
        msg = f"Got no value of {sorted(record['subtasks'])} but expected at least one to vote on"
        raise NoVoteError(msg)
    return max(ballots, key=lambda ballot: (len(ballot), max(vote.confidence or 0.0 for vote in ballot)))[0].value
