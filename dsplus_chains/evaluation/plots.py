"""Plots of an evaluation, as matplotlib figures that touch no global state. Needs the extra `report`."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any, TypeAlias

from dsplus_chains.evaluation.evaluation import Evaluation

Around: TypeAlias = tuple[float, float, float]
"""A share and the ends of its interval."""

# Each stands out on white paper and on a dark page.
_BLUE, _RED, _GREY = "#3b82c4", "#c8553d", "#8a8a8a"
_GRID, _PAPER, _INK = "#e4e4e4", "#ffffff", "#000000"

_NAMED_POINTS = 6
"""About this many points of the curve say their threshold in the plot. All of them say it under the pointer."""

_POINTS = "thresholds"
"""Id of the points of the curve."""

_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def cost_accuracy_plot(evaluation: Evaluation) -> Any:
    """Accuracy of the whole chain against the share of inputs that go to the large model.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _axes("Share of inputs sent to the large model", "Accuracy")
    _draw_curve(axes, evaluation.curve)
    for name, marker in (("always_small", "s"), ("always_large", "^"), ("random_at_equal_cost", "x"), ("oracle", "*")):
        if name in evaluation.baselines:
            baseline = evaluation.baselines[name]
            label = name.replace("_", " ")
            axes.plot(baseline.escalation_rate, baseline.accuracy, marker, color=_GREY, markersize=8, label=label)
    interval = evaluation.accuracy_interval
    around = (interval.low, interval.high)
    label = f"this chain ({interval.level:.0%} interval)"
    _draw_choice(axes, evaluation.escalation_rate, evaluation.accuracy, around, label)
    axes.set_xlim(-0.03, 1.03)
    axes.legend(fontsize=8)
    return figure


def tuning_plot(
    curve: Sequence[Mapping[str, Any]], escalation_rate: float, accuracy: float, around: tuple[float, float]
) -> Any:
    """Accuracy on the tuning rows against the share of them that is deferred, at each threshold.

    Args:
        curve: The points, each with `threshold`, `escalation_rate` and `accuracy`.
        escalation_rate: That of the chosen point.
        accuracy: The same.
        around: The ends of the interval of its accuracy.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _axes("Share of tuning rows sent to the large model", "Accuracy")
    _draw_curve(axes, curve)
    _draw_choice(axes, escalation_rate, accuracy, around, "the chosen threshold")
    axes.set_xlim(-0.03, 1.03)
    axes.legend(fontsize=8)
    return figure


def reliability_plot(evaluation: Evaluation) -> Any:
    """How often the small model is right at each confidence. On the diagonal, the confidence means what it says.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _axes("Confidence of the small model", "Share of right answers")
    axes.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1, label="confidence that means what it says")
    bins = [point for point in evaluation.reliability if point["count"]]
    if bins:
        most = max(point["count"] or 0 for point in bins)
        axes.scatter(
            [point["confidence"] for point in bins],
            [point["accuracy"] for point in bins],
            s=[15 + 185 * (point["count"] or 0) / most for point in bins],
            color=_BLUE,
            label="rows (area: how many)",
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return figure


def risk_coverage_plot(evaluation: Evaluation) -> Any:
    """Error of the small model among the inputs it keeps, against the share it keeps.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _axes("Coverage: share of inputs kept", "Risk: share of wrong answers")
    coverage = [point["coverage"] for point in evaluation.risk_coverage]
    axes.plot(coverage, [point["risk"] for point in evaluation.risk_coverage], color=_BLUE, label="small model")
    axes.axvline(1 - evaluation.escalation_rate, color=_RED, linewidth=1, label="this chain")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return figure


def then_and_now_plot(shares: Mapping[str, Sequence[Around]], alarms: Collection[str] = ()) -> Any:
    """Shares before and now, with their intervals, one line a share.

    Args:
        shares: Two values for each name: what the share was, and what it is.
        alarms: The names of those whose difference is an alarm.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure, axes = _axes("Share of inputs, and its interval", "")
    places = dict(zip(shares, range(len(shares), 0, -1), strict=True))
    kinds = (
        ("before", _GREY, {name: (places[name] + 0.12, was) for name, (was, _) in shares.items()}),
        ("now", _BLUE, {name: (places[name] - 0.12, now) for name, (_, now) in shares.items() if name not in alarms}),
        ("now: alarm", _RED, {name: (places[name] - 0.12, now) for name, (_, now) in shares.items() if name in alarms}),
    )
    for label, color, drawn in kinds:
        for number, (height, (value, low, high)) in enumerate(drawn.values()):
            ends = [[max(value - low, 0)], [max(high - value, 0)]]
            told = label if number == 0 else None
            axes.errorbar(value, height, xerr=ends, fmt="o", color=color, capsize=3, label=told)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_xlim(-0.03, 1.03)
    axes.legend(fontsize=8)
    return figure


def threshold_name(threshold: float | None) -> str:
    """A threshold for people.

    Example:
        >>> threshold_name(None), threshold_name(0.75), threshold_name(0.0)
        ('ask always', '0.75', '0')
    """
    return "ask always" if threshold is None else f"{threshold:g}"


def as_svg(figure: Any) -> str:
    """The figure as an SVG element. Equal figures give equal text."""
    text = io.StringIO()
    with import_module("matplotlib").rc_context({"svg.hashsalt": "dsplus_chains", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def for_page(svg: str, *, name: str, title: str, description: str, points: Sequence[str] = ()) -> str:
    """The plot as a part of a page. It takes the page's colours, and its ids are its own.

    Args:
        svg: What `as_svg` returned.
        name: Name of the plot, unique on the page.
        title: What it shows, for those who cannot see it.
        description: What is to be seen.
        points: What each point of the curve says under the pointer.
    """
    for colour, own in ((_GRID, "var(--line)"), (_PAPER, "var(--page)"), (_INK, "currentColor")):
        svg = svg.replace(colour, own)
    svg = _IDS.sub(rf"\g<1>{name}-", re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL))
    told = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-about">{escape(description)}</desc>'
    start, _, rest = svg.partition(">")
    svg = f'{start} role="img" aria-labelledby="{name}-title {name}-about">{told}{rest}'
    before, found, curve = svg.partition(f'<g id="{name}-{_POINTS}">')
    left = iter(points if found else ())

    def told_under_the_pointer(use: re.Match[str]) -> str:
        text = next(left, None)
        return use[0] if text is None else f"<use{use[1]}><title>{escape(text)}</title></use>"

    return before + found + re.sub(r"<use([^>]*)/>", told_under_the_pointer, curve)


def _draw_curve(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    """The accuracy at every threshold, some of which are named."""
    if not curve:
        return
    share, accuracy = ([point[name] for point in curve] for name in ("escalation_rate", "accuracy"))
    (line,) = axes.plot(share, accuracy, ".-", color=_BLUE, markersize=3, label="every threshold")
    line.set_gid(_POINTS)
    for point in _spread(curve):
        where = (point["escalation_rate"], point["accuracy"])
        text = "ask always" if point["threshold"] is None else f"{point['threshold']:.2g}"  # short, to find room
        axes.annotate(text, where, xytext=(0, 5), textcoords="offset points", fontsize=7, ha="center", color=_BLUE)


def _draw_choice(axes: Any, share: float, accuracy: float, around: tuple[float, float], label: str) -> None:
    """The point in use, with the interval of its accuracy."""
    low, high = around
    ends = [[max(accuracy - low, 0)], [max(high - accuracy, 0)]]
    axes.errorbar(share, accuracy, yerr=ends, fmt="o", color=_RED, capsize=4, label=label)


def _spread(curve: Sequence[Any]) -> list[Any]:
    """A few points of the curve that lie apart."""
    chosen: list[Any] = []
    for point in curve:
        if not chosen or abs(point["escalation_rate"] - chosen[-1]["escalation_rate"]) >= 1 / _NAMED_POINTS:
            chosen.append(point)
    return chosen


def check_plots() -> Any:
    """The module of matplotlib that draws.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        return import_module("matplotlib.figure")
    except ImportError as error:
        msg = "Got no matplotlib but expected it for plots; install the extra `report`"
        raise ImportError(msg) from error


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    figure = check_plots().Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
