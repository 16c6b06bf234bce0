"""What the options of `dsplus tune` may be, and which do not go together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from dsplus_chains.schema import DSPlusError, InvalidInputError, is_number


class Objective(StrEnum):
    """What the threshold is chosen for."""

    ACCURACY = "accuracy"
    MATCH_LARGE = "match_large"
    MAX_ESCALATION = "max_escalation"
    MAX_COST = "max_cost"
    MAX_RISK = "max_risk"


class Fusion(StrEnum):
    """Who has the last word on a deferred input."""

    REPLACE = "replace"
    POSTERIOR = "posterior"
    AUTO = "auto"


class Hints(StrEnum):
    """What the large model is told about the small model's view."""

    NONE = "none"
    SOFT = "soft"
    HARD = "hard"
    AUTO = "auto"


@contextmanager
def as_options(names: Iterable[str]) -> Iterator[None]:
    """Call arguments of the library as options of the command, where it refuses them.

    Args:
        names: The arguments. Each has an option of the same name.

    Raises:
        InvalidInputError: What the library raises, in the words of the command.

    Example:
        >>> with as_options(["max_cost"]):
        ...     raise ValueError("Got max_cost=-1 but expected more")
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got --max-cost -1 but expected more
    """
    try:
        yield
    except (DSPlusError, ValueError) as error:
        told = str(error)
        for name in names:
            option = f"--{name.replace('_', '-')}"
            told = re.sub(rf"\b{name}=", f"{option} ", re.sub(rf"\b{name}=\.\.\.", option, told))
        raise InvalidInputError(told) from error


def check_large_cost(cost: float) -> None:
    """Refuse a cost that is none.

    Raises:
        InvalidInputError: This is the case.
    """
    if not is_number(cost, least=0.0) or math.isinf(cost):
        msg = f"Got --large-cost {cost} but expected numbers of at least 0, as costs are"
        raise InvalidInputError(msg)


def check_budget(
    max_tokens: int | None, large_column: str | None, objective: Objective, max_risk: float | None
) -> None:
    """Refuse a budget where nothing is asked, or where every row has to be asked about.

    Raises:
        ValueError: This is the case.
    """
    if max_tokens is None:
        return
    if large_column is not None:
        msg = "Got --max-tokens with --large-column, which asks for nothing; leave it out"
        raise ValueError(msg)
    if objective in {Objective.MATCH_LARGE, Objective.MAX_RISK} or max_risk is not None:
        wants = "--max-risk" if max_risk is not None else f"--objective {objective.value}"
        msg = f"Got --max-tokens with {wants}, which needs the large model's answer to every row; leave one out"
        raise ValueError(msg)
