"""What the options of `dsplus tune` may be, and which do not go together."""

from __future__ import annotations

from enum import StrEnum


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
