"""The written report of an evaluation, as one self-contained HTML page, as Markdown, and as JSON numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from dsplus_chains.calibration.intervals import Interval
from dsplus_chains.evaluation.evaluation import Evaluation
from dsplus_chains.evaluation.plots import as_svg, cost_accuracy_plot, reliability_plot, risk_coverage_plot

ERRORS_SHOWN = 200
"""At most this many wrong answers are listed on the page. All of them are in the JSON."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.lead{font-size:1.1rem}
table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
th{border-bottom:1px solid #999}td{border-bottom:1px solid #e4e4e4;overflow-wrap:anywhere}
.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots svg{max-width:100%;height:auto}
"""


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


@dataclass(frozen=True, kw_only=True)
class _Section:
    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


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
    plots = {
        "cost_accuracy": as_svg(cost_accuracy_plot(evaluation)),
        "reliability": as_svg(reliability_plot(evaluation)),
        "risk_coverage": as_svg(risk_coverage_plot(evaluation)),
    }
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(html=where / "report.html", markdown=where / "report.md", json=where / "evaluation.json")
    for name, svg in plots.items():
        (where / f"{name}.svg").write_text(svg, encoding="utf-8")
    lead, sections = summary(evaluation), _sections(evaluation)
    files.html.write_text(_html(title, lead, plots, sections), encoding="utf-8")
    files.markdown.write_text(_markdown(title, lead, list(plots), sections), encoding="utf-8")
    files.json.write_text(evaluation.to_json() + "\n", encoding="utf-8")
    return files


def summary(evaluation: Evaluation) -> str:
    """What the evaluation found, in a few plain sentences."""
    result = evaluation
    text = (
        f"The chain was right on {_percent(result.accuracy)} of {result.n} inputs ({_range(result.accuracy_interval)})"
        f" and sent {_percent(result.escalation_rate)} of them to the large model."
        f" The small model alone was right on {_percent(result.small_accuracy)}"
    )
    text += "." if result.large_accuracy is None else f", the large model alone on {_percent(result.large_accuracy)}."
    verdict = "more than chance explains" if result.sign_test_p < 0.05 else "which chance can explain"
    return (
        f"{text} The large model fixed {result.fixed} answers of the small one and broke {result.broke}, {verdict}"
        f" (exact sign test, p = {result.sign_test_p:.2g})."
    )


def _sections(result: Evaluation) -> list[_Section]:
    baselines = [
        [name.replace("_", " "), _percent(baseline.accuracy), _percent(baseline.escalation_rate)]
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
        ["accuracy where the small answer was kept", _percent(result.kept_accuracy)],
        ["accuracy where the large model was asked", _percent(result.deferred_accuracy)],
        ["expected calibration error", _decimal(result.expected_calibration_error)],
        ["adaptive calibration error", _decimal(result.adaptive_calibration_error)],
        ["Brier score", _decimal(result.brier_score)],
        ["negative log-likelihood", _decimal(result.negative_log_likelihood)],
        ["area under the risk-coverage curve", _decimal(result.aurc)],
        ["threshold", "none" if result.threshold is None else str(result.threshold)],
        ["break-even escalation rate", _percent(result.break_even_escalation_rate)],
    ]
    if result.latency is not None:
        seconds = result.latency
        quality.append(["seconds an input", f"median {seconds.p50:.3g}, 95 % within {seconds.p95:.3g}"])
    chain = [["this chain", _percent(result.accuracy), _percent(result.escalation_rate)]]
    sections = [
        _Section(title="Against constants", header=["system", "accuracy", "escalation rate"], rows=chain + baselines),
        _Section(title="Difference in accuracy", header=["the chain", "interval"], rows=compared),
        _Section(
            title="Who answered", header=["source", "rows"], rows=[[k, str(v)] for k, v in result.sources.items()]
        ),
        _Section(title="Quality", header=["measure", "value"], rows=quality),
        _Section(title="Spending", header=["", "this chain", "large model alone"], rows=money),
        _Section(
            title="Labels",
            header=["label", "rows", "accuracy", "precision", "small model", "escalation rate"],
            rows=[
                [
                    str(row.label),
                    str(row.n),
                    _percent(row.accuracy),
                    _percent(row.precision),
                    _percent(row.small_accuracy),
                    _percent(row.escalation_rate),
                ]
                for row in sorted(result.per_label, key=lambda row: row.accuracy)
            ],
        ),
        _Section(
            title="Wrong answers",
            text=f"{min(len(result.errors), ERRORS_SHOWN)} of {len(result.errors)}; all are in evaluation.json.",
            header=["row", "input", "label", "answer", "source", "small model", "confidence", "large model", "failure"],
            rows=[
                [
                    str(row.row),
                    str(row.input),
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
    if result.subtasks:
        sections.append(_subtask_section(result))
    if result.notes:
        sections.append(_Section(title="Notes", header=["what to know"], rows=[[note] for note in result.notes]))
    return sections


def _subtask_section(result: Evaluation) -> _Section:
    header = ["subtask", "calls", "tokens", "seconds", "escalation rate", "skipped", "without a value"]
    rows = [
        [
            row.name,
            _count(row.calls),
            _count(row.tokens),
            "unknown" if row.seconds is None else f"{row.seconds:.3g}",
            _percent(row.escalation_rate),
            _percent(row.skipped_rate),
            _percent(row.failed_rate),
        ]
        for row in result.subtasks
    ]
    return _Section(title="Subtasks", header=header, rows=rows)


def _html(title: str, lead: str, plots: dict[str, str], sections: Sequence[_Section]) -> str:
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>',
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><div class="plots">{"".join(plots.values())}</div>',
    ]
    for section in sections:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows)
        text = f"<p>{escape(section.text)}</p>" if section.text else ""
        parts.append(f"<h2>{escape(section.title)}</h2>{text}<table><tr>{head}</tr>{body}</table>")
    return "\n".join(parts) + "\n"


def _markdown(title: str, lead: str, plots: Sequence[str], sections: Sequence[_Section]) -> str:
    lines = [f"# {title}", "", lead, "", *(f"![{name.replace('_', ' ')}]({name}.svg)" for name in plots), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += [_markdown_row(section.header), _markdown_row(["---"] * len(section.header))]
        lines += [*(_markdown_row(row) for row in section.rows), ""]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    # An input is data, so it may neither break the table nor become markup.
    return "| " + " | ".join(" ".join(escape(cell, quote=False).split()).replace("|", "\\|") for cell in cells) + " |"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _range(interval: Interval) -> str:
    return f"{interval.level:.0%} interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %".replace(
        "%", " %", 1
    )


def _decimal(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _count(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
