"""The written report of an evaluation, as one self-contained HTML page, as Markdown, and as JSON numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsplus_chains.calibration.intervals import Interval
from dsplus_chains.evaluation.evaluation import Evaluation
from dsplus_chains.evaluation.label_confusion import confusion_table
from dsplus_chains.evaluation.plots import (
    as_svg,
    cost_accuracy_plot,
    reliability_plot,
    risk_coverage_plot,
    threshold_name,
)
from dsplus_chains.evaluation.report_page import Plot, Section, as_html, as_markdown
from dsplus_chains.evaluation.terms import TERMS
from dsplus_chains.schema import for_people, share, span

ERRORS_SHOWN = 200
"""At most this many wrong answers are listed on the page. All of them are in the JSON."""

POINTS_SHOWN = 20
"""About this many points of the curve are listed on the page."""

LABELS_SHOWN = 15
"""The confusion matrix has at most this many labels, those with most mistakes. It adds up the others."""

_PLOTS = {"cost_accuracy": cost_accuracy_plot, "reliability": reliability_plot, "risk_coverage": risk_coverage_plot}
_PAGES = {"html": "report.html", "markdown": "report.md", "json": "evaluation.json"}


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """The files of a report.

    Args:
        html: The page. It needs no other file.
        markdown: The same page as Markdown, with the plots beside it.
        json: The numbers.
    """

    html: Path
    markdown: Path
    json: Path


def report_files(folder: Path) -> list[Path]:
    """Every file that `write_report` would write into a folder."""
    return [folder / name for name in (*(f"{name}.svg" for name in _PLOTS), *_PAGES.values())]


def write_report(evaluation: Evaluation, folder: str | Path, *, title: str = "Evaluation") -> ReportFiles:
    """Write `report.html`, `report.md` with its plots, and `evaluation.json` into a folder.

    The folder is made if it does not exist.

    Args:
        evaluation: The evaluation to report.
        folder: The folder to write to.
        title: Heading of the page.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = {name: plot(evaluation) for name, plot in _PLOTS.items()}
    abouts = _abouts(evaluation)
    plots = [Plot(name=name, svg=as_svg(figure), about=abouts[name]) for name, figure in figures.items()]
    where = Path(folder)
    files = ReportFiles(**{kind: where / name for kind, name in _PAGES.items()})
    lead, sections = summary(evaluation), _sections(evaluation)
    points = [f"threshold {name}: asked {asked}, right {right}" for name, asked, right in _curve_rows(evaluation.curve)]
    texts = {where / f"{plot.name}.svg": plot.svg for plot in plots} | {
        files.html: as_html(title, lead, plots, sections, points=points),
        files.markdown: as_markdown(title, lead, plots, sections),
        files.json: evaluation.to_json() + "\n",
    }
    where.mkdir(parents=True, exist_ok=True)  # only now, so that nothing that fails leaves half a report
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", errors="replace")
    return files


def summary(evaluation: Evaluation) -> str:
    """What the evaluation found, in a few plain sentences."""
    result = evaluation
    text = (
        f"The chain was right on {share(result.accuracy)} of {result.n} inputs ({_range(result.accuracy_interval)})"
        f" and sent {share(result.escalation_rate)} of them to the large model."
        f" The small model alone was right on {share(result.small_accuracy)}"
    )
    text += "." if result.large_accuracy is None else f", the large model alone on {share(result.large_accuracy)}."
    verdict = "more than chance explains" if result.sign_test_p < 0.05 else "which chance can explain"
    return (
        f"{text} The large model fixed {result.fixed} answers of the small one and broke {result.broke}, {verdict}"
        f" (exact sign test, p = {result.sign_test_p:.2g})."
    )


def _abouts(result: Evaluation) -> dict[str, str]:
    """What each plot shows, for those who cannot see it."""
    error = _decimal(result.expected_calibration_error)
    return {
        "cost_accuracy": "Accuracy of the whole chain against the share of inputs sent to the large model. "
        f"This chain is right on {share(result.accuracy)} and sends {share(result.escalation_rate)}.",
        "reliability": "How often the small model is right at each confidence. "
        f"Its expected calibration error is {error}.",
        "risk_coverage": "Share of wrong answers among those kept, against the share kept. "
        f"The area under the curve is {_decimal(result.aurc)}.",
    }


def _curve_rows(points: Sequence[Mapping[str, float | None]]) -> list[list[str]]:
    return [
        [threshold_name(point["threshold"]), share(point["escalation_rate"]), share(point["accuracy"])]
        for point in points
    ]


def _curve_section(result: Evaluation) -> Section:
    """The thresholds, at most `POINTS_SHOWN` of them."""
    step = max(1, -(-len(result.curve) // POINTS_SHOWN))
    points = [*result.curve[:-1:step], result.curve[-1]]
    text = f"{len(points)} of the {len(result.curve)} points of the curve; the rest is in evaluation.json."
    header = ["threshold", "escalation rate", "accuracy of the chain"]
    return Section(title="Thresholds", text=text, header=header, rows=_curve_rows(points))


def _confusion_section(result: Evaluation) -> Section:
    header, rows = confusion_table(result.confusions, most=LABELS_SHOWN)
    text = "Each row is a true label, and each column an answer of the chain."
    return Section(title="Confusion matrix", text=text, header=header, rows=rows, matrix=True)


def _sections(result: Evaluation) -> list[Section]:
    baselines = [
        [name.replace("_", " "), share(baseline.accuracy), share(baseline.escalation_rate)]
        for name, baseline in result.baselines.items()
    ]
    compared = [["against the small model alone", _range(result.gain_over_small)]]
    if result.gain_over_large is not None:
        compared.append(["against the large model alone", _range(result.gain_over_large)])
    estimated = " (extrapolated)" if result.large_only_estimated else ""
    money = [
        ["tokens", _count(result.tokens), f"{_count(result.large_only_tokens)}{estimated}"],
        ["cost in US dollars", _usd(result.cost_usd), f"{_usd(result.large_only_cost_usd)}{estimated}"],
    ]
    quality = [
        ["accuracy where the small answer was kept", share(result.kept_accuracy)],
        ["accuracy where the large model was asked", share(result.deferred_accuracy)],
        ["expected calibration error", _decimal(result.expected_calibration_error)],
        ["adaptive calibration error", _decimal(result.adaptive_calibration_error)],
        ["Brier score", _decimal(result.brier_score)],
        ["negative log-likelihood", _decimal(result.negative_log_likelihood)],
        ["area under the risk-coverage curve", _decimal(result.aurc)],
        ["threshold", "none" if result.threshold is None else str(result.threshold)],
        ["break-even escalation rate", share(result.break_even_escalation_rate)],
    ]
    if result.latency is not None:
        seconds = result.latency
        quality.append(["seconds an input", f"median {seconds.p50:.3g}, 95 % within {seconds.p95:.3g}"])
    chain = [["this chain", share(result.accuracy), share(result.escalation_rate)]]
    sections = [
        Section(title="Against constants", header=["system", "accuracy", "escalation rate"], rows=chain + baselines),
        Section(title="Difference in accuracy", header=["the chain", "interval"], rows=compared),
        Section(title="Who answered", header=["source", "rows"], rows=[[k, str(v)] for k, v in result.sources.items()]),
        Section(title="Quality", header=["measure", "value"], rows=quality),
        Section(title="Spending", header=["", "this chain", "large model alone"], rows=money),
        Section(
            title="Labels",
            header=["label", "rows", "accuracy", "precision", "small model", "escalation rate"],
            rows=[
                [
                    str(row.label),
                    str(row.n),
                    share(row.accuracy),
                    share(row.precision),
                    share(row.small_accuracy),
                    share(row.escalation_rate),
                ]
                for row in sorted(result.per_label, key=lambda row: row.accuracy)
            ],
        ),
        _confusion_section(result),
        Section(
            title="Wrong answers",
            text=f"{min(len(result.errors), ERRORS_SHOWN)} of {len(result.errors)}; all are in evaluation.json.",
            prose={"input", "failure"},
            header=["row", "input", "label", "answer", "source", "small model", "confidence", "large model", "failure"],
            rows=[
                [
                    str(row.row),
                    for_people(row.input),
                    str(row.label),
                    str(row.answer),
                    row.source,
                    str(row.small),
                    _decimal(row.confidence),
                    "" if row.large is None else str(row.large),
                    row.error or "",
                ]
                for row in result.errors[:ERRORS_SHOWN]
            ],
        ),
    ]
    if result.curve:
        sections.insert(2, _curve_section(result))
    if result.subtasks:
        sections.append(_subtask_section(result))
    if result.notes:
        notes = [[note] for note in result.notes]
        sections.append(Section(title="Notes", header=["what to know"], rows=notes, prose={"what to know"}))
    terms = [[term, meaning] for term, meaning in TERMS.items()]
    sections.append(Section(title="Terms", header=["term", "meaning"], rows=terms, prose={"meaning"}))
    return sections


def _subtask_section(result: Evaluation) -> Section:
    header = ["subtask", "calls", "tokens", "seconds", "escalation rate", "skipped", "without a value"]
    rows = [
        [
            row.name,
            _count(row.calls),
            _count(row.tokens),
            "unknown" if row.seconds is None else f"{row.seconds:.3g}",
            share(row.escalation_rate),
            share(row.skipped_rate),
            share(row.failed_rate),
        ]
        for row in result.subtasks
    ]
    return Section(title="Subtasks", header=header, rows=rows)


def _range(interval: Interval) -> str:
    return f"{100 * interval.level:.0f} % interval {span(interval.low, interval.high)}"


def _decimal(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _count(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
