"""The demo's result for people: a table, a few plain sentences, a plot."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from dsplus_chains.calibration.intervals import Interval
from dsplus_chains.demo.run import DemoOutcome
from dsplus_chains.evaluation.plots import cost_accuracy_plot


def outcome_table(outcome: DemoOutcome) -> Table:
    """The accuracy, escalated share, tokens and seconds of each system.

    The systems are always small, always large, random at equal cost, and DS+.
    """
    result, seconds = outcome.evaluation, outcome.seconds
    table = Table(title=f"{result.n} sentences of reviews that nothing was fitted or tuned on")
    for heading in ("", "accuracy", "escalated", "large model's tokens", "seconds"):
        table.add_column(heading, justify="right" if heading else "left")
    small, large = result.baselines["always_small"], result.baselines["always_large"]
    random = result.baselines["random_at_equal_cost"]
    table.add_row("always small", _share(small.accuracy), "0 %", "0", f"{seconds['always_small']:.1f}")
    table.add_row(
        "always large",
        _share(large.accuracy),
        "100 %",
        _count(result.large_only_tokens),
        f"{seconds['always_large']:.1f}",
    )
    table.add_row("random at equal cost", _share(random.accuracy), _share(random.escalation_rate), "as DS+", "as DS+")
    table.add_row(
        "DS+",
        f"{_share(result.accuracy)} ({_range(result.accuracy_interval)})",
        _share(result.escalation_rate),
        _count(result.tokens),
        f"{seconds['dsplus']:.1f}",
        style="bold",
    )
    return table


def outcome_sentences(outcome: DemoOutcome) -> list[str]:
    """The result in plain words, also where the chain did not win."""
    result, settings = outcome.evaluation, outcome.settings
    random = result.baselines["random_at_equal_cost"]
    sentences = [
        f"The small model learnt from {settings.train} labelled sentences. {outcome.tuned.meaning}",
        _compared("the small model alone", result.accuracy - result.small_accuracy, result.gain_over_small),
    ]
    if result.gain_over_large is not None and result.large_accuracy is not None:
        gain = result.accuracy - result.large_accuracy
        sentences.append(_compared("the large model alone", gain, result.gain_over_large))
    if result.tokens is not None and result.large_only_tokens:
        sentences.append(f"It used {result.tokens / result.large_only_tokens:.0%} of the tokens.".replace("%", " %"))
    sentences.append(
        f"On the sentences that it was asked about, the large model fixed {result.fixed} of the small one's mistakes. "
        f"It broke {result.broke} right answers (sign test p = {result.sign_test_p:.2g})."
    )
    gain = result.accuracy - random.accuracy
    sentences.append(
        f"Sending the same share of sentences at random would have given {_share(random.accuracy)}. Choosing by "
        f"confidence {'won' if gain > 0 else 'lost'} {abs(100 * gain):.1f} points."
    )
    return sentences


def save_plot(outcome: DemoOutcome, path: Path) -> None:
    """Write the cost/accuracy curve as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cost_accuracy_plot(outcome.evaluation).savefig(path, dpi=150)


def _compared(with_what: str, value: float, gain: Interval) -> str:
    """Whether the chain beat a model, as far as these rows can tell."""
    points = f"{100 * value:+.1f} points (95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    if gain.low > 0:
        verdict = "better"
    elif gain.high < 0:
        verdict = "worse"
    else:
        verdict = "neither better nor worse, as far as so few sentences can tell"
    return f"Against {with_what}, DS+ came out {verdict}: {points}."


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(value: int | None) -> str:
    return "not told" if value is None else f"{value:,}"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
