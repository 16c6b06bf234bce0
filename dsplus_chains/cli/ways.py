"""What the options `--hints` and `--exemplars` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dsplus_chains.prompting.hints import HintMode
    from dsplus_chains.task import LabelTask

AUTO = "auto"
EXEMPLARS = 4
"""How many solved examples are tried with "auto", beside none."""


class Ways(NamedTuple):
    """The ways to ask a large model that are tried, in each combination."""

    hints: tuple[HintMode, ...]
    exemplars: tuple[int, ...]
    """Numbers of solved examples."""


def ways_to_ask(task: LabelTask, hints: str | None, exemplars: str | None, *, live: bool) -> Ways:
    """The ways to ask that are to be tried. Without an option, the task's own is taken.

    Args:
        task: The task of the bundle.
        hints: A mode, or "auto".
        exemplars: A number, or "auto".
        live: Whether there is a large model to ask.

    Raises:
        ValueError: `exemplars` is no number, there is no model to ask, or the bundle has no examples to show.
    """
    for option, value in (("--hints", hints), ("--exemplars", exemplars)):
        if value == AUTO and not live:
            msg = (
                f"Got {option} auto with --large-column but expected --large. Logged answers all came from one way to "
                "ask, so other ways cannot be tried"
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
    return Ways(modes[hints], counts)


def set_coverage_of(task: LabelTask) -> float | None:
    """The coverage to which labels are pruned. None if labels are not pruned."""
    from dsplus_chains.tuning.live import SET_COVERAGE

    prunes = task.hints == "hard" and len(task.labels) > task.top_k and task.strong_labels is None
    return SET_COVERAGE if prunes else None
