"""`dsplus evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from dsplus_chains.cli.console import (
    CONCURRENCY,
    AllowDownload,
    BundleFolder,
    Data,
    Delimiter,
    Encoding,
    Image,
    Json,
    Labels,
    Pin,
    Quiet,
    Texts,
    column_of,
    load_bundle,
    progress_bar,
    say,
    user_errors,
    write_json,
)
from dsplus_chains.cli.large_options import (
    AnswerFile,
    BaseUrl,
    Large,
    LargeColumn,
    Plan,
    Timeout,
    check_answered,
    check_source,
    large_or_plan,
    logged_in,
    priced_name,
    say_plan,
    what_stays,
)
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.running.progress import in_batches
from dsplus_chains.schema import answer_of_large, share, span

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from dsplus_chains.evaluation.evaluation import Evaluation
    from dsplus_chains.storage.bundle import Bundle


def evaluate(
    bundle: BundleFolder,
    data: Data,
    label: Labels,
    text: Texts = None,
    image: Image = None,
    large_column: LargeColumn = None,
    large: Large = None,
    base_url: BaseUrl = None,
    answer_file: AnswerFile = None,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    timeout: Timeout = TIMEOUT,
    baselines: Annotated[
        bool, typer.Option(help="With --large: also ask the large model alone about every row, to compare.")
    ] = True,
    plan: Plan = False,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for a report with plots.")] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    quiet: Quiet = False,
) -> None:
    """Measure the chain, and compare it with baselines that need no threshold.

    Use rows that the chain was neither fitted nor tuned on. Others are counted and told.

    [bold]dsplus evaluate intents --data test.csv --text text --label label --large-column gpt --report report[/bold]:
    on logged answers. No large model is asked.

    [bold]dsplus evaluate intents --data test.csv --text text --label label --large openai:gpt-4o-mini --json
    result.json[/bold]: with a live model. It is asked about the deferred rows, and then alone about every row.

    If the bundle asks in groups, so does this. Rows in groups have no time limit of their own, but each request has.
    """
    with user_errors(stopped=what_stays(None if plan else large, answer_file)):
        asking = {
            "--plan": plan,
            "--answers": answer_file is not None,
            "--base-url": base_url is not None,
            "--no-baselines": not baselines,
        }
        check_source(large, large_column, asking=asking)
        column, modality = column_of(bundle, text, image, sha256=sha256)
        from dsplus_chains.tables.reading import read_table

        _check_outputs(json, answer_file, report, data=data, bundle=bundle)
        table = read_table(data, delimiter=delimiter, encoding=encoding)
        texts = table.texts(column, modality=modality)
        from dsplus_chains.evaluation.measure import evaluate as measure

        loaded = load_bundle(bundle, sha256=sha256, allow_download=allow_download, column=column, modality=modality)
        threshold = loaded.threshold
        labels = table.labels(label, known=loaded.scorer.labels)
        model = large_or_plan(large, base_url, answer_file, timeout=timeout, plan_for=loaded.task if plan else None)
        alone: dict[str, Any] = {"fusion": loaded.fusion, "max_ood_score": loaded.check_tuned().max_ood_score}
        if large_column is not None:
            answers = logged_in(table, large_column, loaded.task.parser)
            with progress_bar(quiet=quiet) as progress:
                scored = in_batches(loaded.scorer, texts, title="Scoring", progress=progress)
            records = loaded.replay(scored, answers)
            alone["large_answers"] = [answer.value for answer in answers]
        else:
            from dsplus_chains.corpus.answering import rows_at_once

            limits = Limits(timeout=timeout)
            calls: dict[str, Any] = {"config": {"max_concurrency": CONCURRENCY}, "check": limits.check}
            with progress_bar(quiet=quiet) as progress:
                chain, size = _chain(loaded, model, limits), rows_at_once(loaded.task)
                records = in_batches(chain, texts, title="The chain", progress=progress, batch_size=size, **calls)
            if baselines:
                plain = loaded.chain(
                    model, threshold=None, hints="none", exemplars=None, group=1, fusion=None, **limits.settings
                )
                with progress_bar(quiet=quiet) as progress:
                    asked = in_batches(plain, texts, title="The large model alone", progress=progress, **calls)
                if not plan:
                    check_answered(asked)
                alone |= _said_alone(asked)
        if plan:
            say_plan(model, answer_file)
            return
        tuned_on = loaded.check_tuned().tuned_on
        result = measure(
            records, labels, model_name=priced_name(large, base_url), threshold=threshold, tuned_on=tuned_on, **alone
        )
        _show(result)  # first, since it was paid for, and files may fail
        if json is not None:
            write_json(json, result.to_dict())
        if report is not None:
            from dsplus_chains.evaluation.report import write_report

            files = write_report(result, report, title=f"{bundle.name} on {data.name}")
            say(f"The report is {files.html}.")


def _check_outputs(
    json: Path | None, answer_file: Path | None, report: Path | None, *, data: Path, bundle: Path
) -> None:
    """Refuse what cannot be written, before an answer is paid for."""
    from dsplus_chains.evaluation.plots import check_plots
    from dsplus_chains.evaluation.report import report_files
    from dsplus_chains.storage.outputs_apart import check_outputs

    pages = () if report is None else report_files(report)
    check_outputs(json, answer_file, *pages, inputs=[data], bundles=[bundle], folder=report)
    if report is not None:
        check_plots()


def _chain(bundle: Bundle, model: Any, limits: Limits) -> Runnable[Any, Any]:
    """The chain within its limits. Rows in groups have no limits of their own, but a breaker refuses batches."""
    from dsplus_chains.corpus.answering import whole_gate

    if bundle.task.group == 1:
        return bundle.chain(model, **limits.settings)
    return bundle.scorer.deferring() | whole_gate(bundle.chain(model), breaker=limits.breaker)


def _said_alone(records: list[Any]) -> dict[str, Any]:
    """What the large model said by itself, as `evaluate` takes it."""
    said = [record.get("large") for record in records]
    return {
        "large_answers": [answer_of_large(record) for record in records],
        "large_usage": [answer and answer.usage for answer in said],
        "large_confidences": [answer and answer.confidence for answer in said],
    }


def _show(result: Evaluation) -> None:
    grid = Grid(title=f"{result.n} rows")
    for heading in ("", "accuracy", "escalated"):
        grid.add_column(heading, justify="right" if heading else "left")
    systems = [(name.replace("_", " "), found) for name, found in result.baselines.items()]
    for name, found in systems:
        grid.add_row(name, share(found.accuracy), share(found.escalation_rate))
    grid.add_row("this chain", share(result.accuracy), share(result.escalation_rate), style="bold")
    Console().print(grid)
    interval = result.accuracy_interval
    kept = "" if result.kept_accuracy is None else f", and on {share(result.kept_accuracy)} of what the small one kept"
    say(
        f"The chain was right on {share(result.accuracy)} (95 % interval "
        f"{span(interval.low, interval.high)}){kept}. The large model fixed {result.fixed} answers of the small one "
        f"and broke {result.broke} (exact sign test, p = {result.sign_test_p:.2g})."
    )
    spent = [] if result.tokens is None else [f"{result.tokens:,} tokens"]
    spent += [] if result.cost_usd is None else [f"{result.cost_usd:.4g} US dollars"]
    if spent:
        say(f"The large model took {' and '.join(spent)}.")
