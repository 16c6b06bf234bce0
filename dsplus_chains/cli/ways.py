"""What the options `--hints`, `--exemplars` and `--group` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dsplus_chains.prompting.hints import HintMode
    from dsplus_chains.task import LabelTask

AUTO = "auto"
EXEMPLARS = 4
"""How many solved examples are tried with "auto", beside none."""
GROUP = 10
"""How many rows in one prompt are tried with "auto", beside one."""


class Ways(NamedTuple):
    """The ways to ask a large model that are tried, in each combination."""

    hints: tuple[HintMode, ...]
    exemplars: tuple[int, ...]
    """Numbers of solved examples."""
    groups: tuple[int, ...]
    """The most rows in one prompt."""

    @property
    def first(self) -> dict[str, Any]:
        """The first way, as settings of a task."""
        return {"hints": self.hints[0], "exemplars": self.exemplars[0], "group": self.groups[0]}


def ways_to_ask(task: LabelTask, hints: str | None, exemplars: str | None, group: str | None, *, live: bool) -> Ways:
    """The ways to ask that are to be tried. Without an option, the task's own is taken.

    Args:
        task: The task of the bundle.
        hints: A mode, or "auto".
        exemplars: A number, or "auto".
        group: The most rows in one prompt, or "auto".
        live: Whether there is a large model to ask.

    Raises:
        ValueError: `exemplars` or `group` is no number, there is no model to ask, or the bundle has no examples.
    """
    for option, value in (("--hints", hints), ("--exemplars", exemplars), ("--group", group)):
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
    groups: tuple[int, ...] = (task.group,)
    if group == AUTO:
        groups = (1, GROUP)
    elif group is not None:
        if not group.isdecimal() or int(group) < 1:
            msg = f"Got --group {group} but expected a number of at least 1, such as 10, or auto"
            raise ValueError(msg)
        groups = (int(group),)
    return Ways(modes[hints], counts, groups)


def set_coverage_of(task: LabelTask) -> float | None:
    """The coverage to which labels are pruned. None if labels are not pruned."""
    from dsplus_chains.tuning.live import SET_COVERAGE

    prunes = task.hints == "hard" and len(task.labels) > task.top_k and task.strong_labels is None
    return SET_COVERAGE if prunes else None
