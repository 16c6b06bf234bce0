"""What a search for the best way to ask may be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from dsplus_chains.prompting.hints import HintMode
from dsplus_chains.running.limits import Limits
from dsplus_chains.schema import InvalidInputError, check_choice
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.fused import FusionMode

MODES: tuple[HintMode, ...] = get_args(HintMode)
ROWS = 100
"""For each way to ask, so many rows are asked about."""
GROUP_ROWS = 400
"""So many are if groups are tried, since what they lose has to be shown to be little."""


def rows_to_ask(max_rows: int | None, groups: Sequence[int] | None) -> int:
    """At most how many rows are asked about in each way.

    Args:
        max_rows: What the user says. None leaves it to this function.
        groups: The most rows in one prompt to try.

    Example:
        >>> rows_to_ask(None, (1, 10)), rows_to_ask(None, (10,)), rows_to_ask(50, (1, 10))
        (400, 100, 50)
    """
    if max_rows is not None:
        return max_rows
    return GROUP_ROWS if isinstance(groups, Sequence) and len(set(groups)) > 1 else ROWS


def check_ways(hints: Sequence[HintMode], exemplars: Sequence[int], groups: Sequence[int], task: LabelTask) -> None:
    """Refuse ways to ask that there are not.

    Args:
        hints: The hint modes to try.
        exemplars: The numbers of solved examples to try.
        groups: The most rows in one prompt to try.
        task: The task.

    Raises:
        InvalidInputError: One of these is no list of what it should be, or there are no examples to show.
    """
    if not hints or isinstance(hints, str) or any(mode not in MODES for mode in hints):
        msg = f"Got hints={hints!r} but expected some of {MODES}, in a list"
        raise InvalidInputError(msg)
    if not isinstance(exemplars, Sequence) or not exemplars or any(k < 0 for k in exemplars):
        msg = f"Got exemplars={exemplars!r} but expected numbers of at least 0 in a list, such as [0, 4]"
        raise InvalidInputError(msg)
    if any(exemplars) and task.examples is None:
        msg = f"Got exemplars={exemplars!r} but no examples to choose from; give examples=ExemplarSelector.fit(...)"
        raise InvalidInputError(msg)
    if not isinstance(groups, Sequence) or not groups or any(size < 1 for size in groups):
        msg = f"Got groups={groups!r} but expected numbers of at least 1 in a list, such as [1, 10]"
        raise InvalidInputError(msg)
    if len(set(groups)) > 1 and 1 not in groups:
        msg = f"Got groups={groups!r} but expected 1 among them, because groups are compared with single rows; add it"
        raise InvalidInputError(msg)


def check_search(
    fusion: FusionMode, limits: Limits, *, groups: Sequence[int], max_rows: int, max_tokens: int | None
) -> None:
    """Refuse what no search can go by.

    Args:
        fusion: Whose word may be the last.
        limits: How long and how patiently the large model is asked.
        groups: The most rows in one prompt to try.
        max_rows: At most this many rows are asked about in each way.
        max_tokens: At most this many tokens are spent.

    Raises:
        InvalidInputError: A value is out of range, or rows are grouped that have to be asked one by one.
    """
    check_choice("fusion", fusion, get_args(FusionMode))
    if max_rows < 1 or (max_tokens is not None and max_tokens < 1):
        msg = f"Got max_rows={max_rows}, max_tokens={max_tokens} but expected at least 1 of each"
        raise InvalidInputError(msg)
    if max(groups) > 1 and not (limits.deadline is None and limits.budget is None):
        msg = (
            f"Got groups={groups!r} and a deadline or a budget, under which rows are asked one by one; leave one out "
            "(max_tokens bounds what a search spends)"
        )
        raise InvalidInputError(msg)
