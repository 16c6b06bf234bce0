"""`dsplus evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from dsplus_chains.cli._console import (
    BundleFolder,
    Data,
    Json,
    Labels,
    Quiet,
    Text,
    in_batches,
    percent,
    say,
    user_errors,
    write_json,
)
from dsplus_chains.cli._large import (
    AnswerFile,
    BaseUrl,
    Large,
    LargeColumn,
    answer_of,
    check_answered,
    check_source,
    large_model,
    recorded_answers,
    replayed,
)

if TYPE_CHECKING:
    from dsplus_chains.evaluation.result import Evaluation


def evaluate(
    bundle: BundleFolder,
    data: Data,
    text: Text,
    label: Labels,
    large_column: LargeColumn = None,
    large: Large = None,
    base_url: BaseUrl = None,
    answer_file: AnswerFile = None,
    baselines: Annotated[
        bool, typer.Option(help="With --large: ask the large model alone about every row too, to compare with.")
    ] = True,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a report with plots there.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the chain on rows that it was neither fitted nor tuned on, beside what needs no threshold.

    [bold]dsplus evaluate intents --data test.csv --text text --label label --large-column gpt --report report[/bold]:
    on logged answers; nothing is asked.

    [bold]dsplus evaluate intents --data test.csv --text text --label label --large openai:gpt-4o-mini --json
    result.json[/bold]: what is deferred is asked, and then every row, for the large model alone.
    """
    with user_errors():
        check_source(large, large_column)
        from dsplus_chains.tables.read import read_table

        table = read_table(data)
        texts = table.texts(text)
        model = None if large is None else large_model(large, base_url, answer_file)
        from dsplus_chains.bundle import Bundle
        from dsplus_chains.evaluation.evaluate import evaluate as measure

        loaded = Bundle.load(bundle)
        threshold = loaded.threshold
        labels = table.labels(label, known=loaded.scorer.labels)
        alone: dict[str, Any] = {}
        if large_column is not None:
            answers = recorded_answers(table, large_column, loaded.scorer.labels)
            scored = in_batches(loaded.scorer, texts, "Scoring", quiet=quiet)
            records = replayed(loaded, scored, answers)
            alone["large_answers"] = [answer.value for answer in answers]
        else:
            records = in_batches(loaded.chain(model), texts, "The chain", quiet=quiet)
            if baselines:
                plain = loaded.chain(model, threshold=None, hints="none", exemplars=None, fusion=None)
                asked = in_batches(plain, texts, "The large model alone", quiet=quiet)
                check_answered(asked)
                alone["large_answers"] = [answer_of(record) for record in asked]
                alone["large_usage"] = [record["large"].usage for record in asked]
        # A server of one's own may call its model what it likes: that name has no price.
        priced = None if large is None else large if base_url is None else large.partition(":")[2]
        result = measure(records, labels, model_name=priced, threshold=threshold, **alone)
        if json is not None:
            write_json(json, result.to_dict())
        _show(result)
        if report is not None:
            from dsplus_chains.evaluation.report import write_report

            files = write_report(result, report, title=f"{bundle.name} on {data.name}")
            say(f"The report is {files.html}.")


def _show(result: Evaluation) -> None:
    grid = Grid(title=f"{result.n} rows")
    for heading in ("", "accuracy", "escalated"):
        grid.add_column(heading, justify="right" if heading else "left")
    systems = [(name.replace("_", " "), found) for name, found in result.baselines.items()]
    for name, found in systems:
        grid.add_row(name, percent(found.accuracy), percent(found.escalation_rate))
    grid.add_row("this chain", percent(result.accuracy), percent(result.escalation_rate), style="bold")
    Console().print(grid)
    interval = result.accuracy_interval
    kept = "" if result.kept_accuracy is None else f"; of what the small model kept, {percent(result.kept_accuracy)}"
    say(
        f"The chain was right on {percent(result.accuracy)} (95 % interval {percent(interval.low)} to "
        f"{percent(interval.high)}){kept}. The large model fixed {result.fixed} answers of the small one and broke "
        f"{result.broke} (exact sign test, p = {result.sign_test_p:.2g})."
    )
    spent = [] if result.tokens is None else [f"{result.tokens:,} tokens"]
    spent += [] if result.cost_usd is None else [f"{result.cost_usd:.4g} US dollars"]
    if spent:
        say(f"The large model took {' and '.join(spent)}.")
