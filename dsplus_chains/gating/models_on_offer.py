"""What a composer may choose from: the models, what each costs, and how costs are weighed. All is checked at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dsplus_chains.schema import DSPlusError, InvalidInputError, TrainingDataError, is_number, what_came


def check_on_offer(models: Any, costs: Any, tradeoff: Any) -> list[str]:
    """The names of the models, if each has a cost.

    Args:
        models: The models by name.
        costs: The cost of a call of each, by name.
        tradeoff: The score that a unit of cost must bring.

    Raises:
        TrainingDataError: There are fewer than two models. Or the names differ, or a cost or the tradeoff is no number
            from 0 on.

    Example:
        >>> check_on_offer({"7b": str, "70b": str}, {"7b": 1, "70b": 8}, 0.0)
        ['7b', '70b']
    """
    if not isinstance(models, Mapping) or not isinstance(costs, Mapping):
        msg = f"Got models={what_came(models)} and costs={what_came(costs)} but expected two dicts by name"
        raise TrainingDataError(msg)
    names = list(models)
    if len(names) < 2:
        msg = f"Got models={what_came(models)} but expected two models or more to choose from"
        raise TrainingDataError(msg)
    if unknown := sorted({*costs} ^ {*names}, key=str):
        msg = f"Got models {names} and costs of {sorted(costs, key=str)} but expected the same names; look at {unknown}"
        raise TrainingDataError(msg)
    for name in names:
        check_amount(f"costs[{name!r}]", costs[name], error=TrainingDataError)
    check_amount("tradeoff", tradeoff, error=TrainingDataError)
    return names


def check_amount(option: str, value: Any, *, error: type[DSPlusError] = InvalidInputError) -> None:
    """Refuse what is no finite number from 0 on.

    Raises:
        DSPlusError: This is the case.
    """
    if not (is_number(value, least=0) and value < math.inf):
        msg = f"Got {option}={what_came(value)} but expected a finite number of at least 0"
        raise error(msg)
