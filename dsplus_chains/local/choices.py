"""Choosing among given answers: checks of the choices, and their probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import BaseOutputParser
from typing_extensions import override

from dsplus_chains.schema import InvalidInputError, brief


class MemberParser(BaseOutputParser[Enum]):
    """Turns a chosen answer into the member of the Enum class that it came from."""

    members: type[Enum]

    @override
    def parse(self, text: str) -> Enum:
        try:
            return self.members(text)
        except ValueError as error:
            expected = ", ".join(repr(member.value) for member in self.members)
            msg = f"Got {text!r} but expected one of {expected}"
            raise OutputParserException(msg, llm_output=text) from error


def normalise(logs: Sequence[float]) -> list[float]:
    """Shift log-likelihoods so that their probabilities sum to 1.

    Example:
        >>> [round(math.exp(value), 2) for value in normalise([-7.0, -7.0 - math.log(3)])]
        [0.75, 0.25]
    """
    top = max(logs)
    total = top + math.log(math.fsum(math.exp(value - top) for value in logs))
    return [value - total for value in logs]


def nothing(_: Any) -> None:
    """Return None for any input."""
    return


def check_choices(choices: Any) -> list[str]:
    """The choices as a list. There must be at least one, and none may be empty or come twice.

    Raises:
        InvalidInputError: The choices break one of these rules.
    """
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        msg = f"Got choices={choices!r} but expected at least one string, none empty"
        raise InvalidInputError(msg)
    if len(set(choices)) < len(choices):
        msg = f"Got choices={choices!r} but expected every choice once"
        raise InvalidInputError(msg)
    return list(choices)


def check_bias(bias: Mapping[str, float] | None, choices: Sequence[str]) -> list[float]:
    """One number for each choice, 0 without a bias.

    Raises:
        InvalidInputError: A number is missing, or not finite.
    """
    if bias is None:
        return [0.0] * len(choices)
    if set(bias) != set(choices) or not all(map(math.isfinite, bias.values())):
        msg = f"Got choice_bias={bias!r} but expected one finite number for each of {brief(list(choices))}"
        raise InvalidInputError(msg)
    return [bias[choice] for choice in choices]
