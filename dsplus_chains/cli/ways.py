"""What the options `--hints` and `--exemplars` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsplus_chains.prompting.hints import HintMode
    from dsplus_chains.task import LabelTask

AUTO = "auto"
EXEMPLARS = 4
"""How many solved examples are tried, where nobody says how many."""


def ways_to_ask(
    task: LabelTask, hints: str | None, exemplars: str | None, *, live: bool
) -> tuple[tuple[HintMode, ...], tuple[int, ...]]:
    """The hint modes and the numbers of solved examples to try; the task's own, where an option is not given.

    Args:
        task: The bundle's.
        hints: A mode, or "auto".
        exemplars: A number, or "auto".
        live: Whether there is a large model to be asked.

    Raises:
        ValueError: No number, nothing to ask, or no examples to show.
    """
    for option, value in (("--hints", hints), ("--exemplars", exemplars)):
        if value == AUTO and not live:
            msg = (
                f"Got {option} auto with --large-column but expected --large: logged answers all came from one way to "
                "ask, so others cannot be tried"
            )
            raise ValueError(msg)
    modes: dict[str | None, tuple[HintMode, ...]] = {
        None: (task.hints,), "none": ("none",), "soft": ("soft",), "hard": ("hard",), AUTO: ("none", "soft", "hard")
    }  # fmt: skip
    counts: tuple[int, ...] = (task.exemplars,)
    if exemplars == AUTO:
        counts = (0,) if task.examples is None else (0, EXEMPLARS)
    elif exemplars is not None:
        if not exemplars.isdecimal():
            msg = f"Got --exemplars {exemplars} but expected a number such as 4, or auto"
            raise ValueError(msg)
        counts = (int(exemplars),)
    if any(counts) and task.examples is None:
        msg = f"Got --exemplars {exemplars} but the bundle holds no examples; fit it anew, without --no-examples"
        raise ValueError(msg)
    return modes[hints], counts


def set_coverage_of(task: LabelTask) -> float | None:
    """What labels are pruned to, where they are."""
    from dsplus_chains.tuning.live import SET_COVERAGE

    prunes = task.hints == "hard" and len(task.labels) > task.top_k and task.strong_labels is None
    return SET_COVERAGE if prunes else None
