"""`dsplus tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    check_source,
    large_or_plan,
    say_plan,
    settings_of,
)
from dsplus_chains.cli.tune_options import Fusion, Hints, Objective, check_budget
from dsplus_chains.cli.ways import AUTO, set_coverage_of, ways_to_ask
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.running.progress import in_batches
from dsplus_chains.schema import share

if TYPE_CHECKING:
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.task import LabelTask
    from dsplus_chains.tuning.hint_search import HintSearch


def tune(
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
    objective: Annotated[Objective, typer.Option(help="What to optimise.")] = Objective.ACCURACY,
    max_escalation: Annotated[
        float | None, typer.Option(metavar="E", help="At most this share of rows goes to the large model.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="C", help="Bound on the mean cost of an input, in units of --large-cost.")
    ] = None,
    large_cost: Annotated[
        float, typer.Option(metavar="C", help="Cost of one call of the large model, in any unit.")
    ] = 1.0,
    max_risk: Annotated[
        float | None,
        typer.Option(metavar="A", help="Guarantee that the whole chain errs on at most this share of inputs."),
    ] = None,
    delta: Annotated[
        float, typer.Option(metavar="D", help="Chance, over the tuning rows, that the guarantee fails.")
    ] = 0.05,
    fusion: Annotated[
        Fusion,
        typer.Option(
            help="Who has the last word. replace: the large model. posterior: both models. auto: both models, unless "
            "replace does clearly better on the tuning rows. For match_large, auto takes the cheaper way. With a "
            "guarantee, auto is replace."
        ),
    ] = Fusion.AUTO,
    hints: Annotated[
        Hints | None,
        typer.Option(
            help="What the large model is told about the small model's view. auto (needs --large) finds out what "
            "pays. Default: the bundle's setting."
        ),
    ] = None,
    exemplars: Annotated[
        str | None,
        typer.Option(
            metavar="K|auto",
            help="How many solved training examples the large model is shown. auto (needs --large) finds out what "
            "pays. Default: the bundle's setting.",
        ),
    ] = None,
    reask: Annotated[
        bool | None,
        typer.Option(
            "--reask/--no-reask",
            help="With hard hints: ask again with all labels, if the large model says that no offered label fits. "
            "Default: the bundle's setting.",
        ),
    ] = None,
    max_rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="For each way to ask, ask about at most N rows.")
    ] = 100,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Spend at most about N tokens of the large model.")
    ] = None,
    plan: Plan = False,
    json: Json = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    quiet: Quiet = False,
) -> None:
    """Choose the threshold on labelled rows, and store it in the bundle.

    Use rows that the small model was not fitted on. Others are counted and told. They guarantee nothing.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large-column gpt[/bold]: on logged answers.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large openai:gpt-4o-mini --objective
    max_escalation --max-escalation 0.2[/bold]: the large model is asked about every row.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large-column gpt --objective max_risk
    --max-risk 0.1 --delta 0.05[/bold]: with a guarantee.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large openai:gpt-4o-mini --hints auto
    --exemplars auto --answers answers.sqlite[/bold]: each way to ask is tried. The rows for this are those that the
    small model is least sure of. The cheapest way is taken, unless a dearer one is better by more than chance.

    A bound given beside another objective is a constraint on it. An input that the bundle defers because it is far from
    all training examples (`max_ood_score`) stays deferred. Use the tuning rows only once, and other rows to evaluate.
    """
    with user_errors():
        check_source(large, large_column, plan=plan)
        column, modality = column_of(bundle, text, image, sha256=sha256)
        check_budget(max_tokens, large_column, objective, max_risk)
        from dsplus_chains.storage.bundle_files import check_outputs, read_manifest
        from dsplus_chains.storage.files import check_place
        from dsplus_chains.tables.reading import read_table

        check_outputs(bundle, json, answer_file)
        check_place(bundle, folder=True)
        table = read_table(data, delimiter=delimiter, encoding=encoding)
        texts = table.texts(column, modality=modality)
        from dsplus_chains.tuning.live import ask_live
        from dsplus_chains.tuning.threshold_tuning import tune_threshold

        loaded = load_bundle(bundle, sha256=sha256, allow_download=allow_download, column=column, modality=modality)
        loaded = loaded if reask is None else loaded.with_task(reask=reask)
        labels = table.labels(label, known=loaded.scorer.labels)
        modes, counts = ways_to_ask(loaded.task, hints, exemplars, live=large is not None)
        options: dict[str, Any] = {
            "objective": objective.value,
            "max_escalation": max_escalation,
            "max_cost": max_cost,
            "max_risk": max_risk,
            "delta": delta,
            "large_cost": large_cost,
            "fusion": fusion.value,
        }
        _check_options(loaded, texts, labels, options)
        model = large_or_plan(large, base_url, answer_file, timeout=timeout, plan_for=loaded.task if plan else None)
        search: HintSearch | None = None
        sure, asked = None, len(texts)
        with progress_bar(quiet=quiet) as progress:
            if large_column is not None:
                answers = _logged(loaded, table.cells(large_column), large_column)
                scored = in_batches(loaded.scorer, texts, title="Scoring", progress=progress)
                predictions: list[Any] = [record["prediction"] for record in scored]
                chosen = loaded.with_task(hints=modes[0], exemplars=counts[0])
            else:
                live = ask_live(
                    loaded.scorer,
                    model,
                    texts,
                    labels,
                    task=loaded.task,
                    hints=modes,
                    exemplars=counts,
                    fusion=fusion.value,
                    max_rows=max_rows,
                    max_tokens=max_tokens,
                    config={"max_concurrency": CONCURRENCY},
                    limits=Limits(timeout=timeout),
                    progress=progress,
                )
                chosen, search = replace(loaded, task=live.task), live.search
                predictions, answers = [*live.search.predictions], live.answers
                sure, asked = live.confidences, live.asked
        if plan:
            say_plan(model, answer_file)
            return
        if asked < len(texts):  # what was not asked about must not be deferred
            options["max_escalation"] = min(asked / len(texts), 1.0 if max_escalation is None else max_escalation)
        tuned = tune_threshold(
            predictions,
            labels,
            answers,
            large_confidences=sure,
            set_coverage=set_coverage_of(chosen.task),
            max_ood_score=None if loaded.tuned is None else loaded.tuned.max_ood_score,
            model_hash=read_manifest(bundle).scorer_sha256,
            texts=texts,
            **options,
        )
        pin = chosen.with_tuned(tuned, large=settings_of(large, base_url, large_column, data)).save(bundle)
        tried = search if search is not None and search.tried_several else None
        if json is not None:
            write_json(json, {**tuned.to_dict(), **({} if tried is None else {"ablation": tried.to_dict()})})
        if tried is not None:
            _show(tried)
        elif large_column is not None and (hints, exemplars, reask) != (None, None, None):
            _say_what_was_logged(chosen.task)
        _tell(chosen.task, answers, asked, exemplars)
        say(f"{tuned.meaning}\nThe bundle is {bundle} (SHA-256 of its manifest: {pin}).")


def _check_options(bundle: Bundle, texts: list[str], labels: Sequence[Any], options: dict[str, Any]) -> None:
    """Refuse what can't be had from these rows, before an answer is paid for."""
    from dsplus_chains.tuning.rehearsal import rehearse
    from dsplus_chains.tuning.row_origin import RowOrigin

    rehearse(labels, **options)
    if options["max_risk"] is not None:
        RowOrigin(training=tuple(bundle.scorer.training_of(texts))).check(guaranteed=True)


def _logged(bundle: Bundle, cells: Sequence[Any], column: str) -> list[Any]:
    from dsplus_chains.evaluation.recorded import read_recorded

    recorded = read_recorded(cells, bundle.task.parser, where=f"column {column!r}")
    return [answer.value for answer in recorded]


def _say_what_was_logged(task: LabelTask) -> None:
    from dsplus_chains.tuning.hint_search import setting_name

    say(
        f"The chain will ask with {setting_name(task.hints, task.exemplars)}; the logged answers came from whatever "
        "prompt was used then. The threshold is right for that prompt."
    )


def _tell(task: LabelTask, answers: Sequence[object], asked: int, exemplars: str | None) -> None:
    """Say how many rows the large model did not answer, and whether exemplars or hard hints have no effect."""
    if exemplars == AUTO and task.examples is None:
        say("The bundle holds no examples to show, so none were tried.")
    n = len(answers)
    if failed := answers.count(None) - (n - asked):
        say(f"{failed} of {asked} rows have no answer of the large model. The small model answers there.")
    if asked < n:
        say(
            f"The large model was asked about {asked} of {n} rows, those of which the small one is least sure. The "
            f"budget was not enough for more. So at most {share(asked / n)} of inputs can be deferred."
        )
    if task.hints == "hard" and task.strong_labels is None and set_coverage_of(task) is None:
        say(f"Hard hints prune nothing here. A hint names up to {task.top_k} labels, and there are no more.")


def _show(search: HintSearch) -> None:
    from dsplus_chains.tuning.hint_search import HEADINGS

    grid = Grid(title=f"The {len(search.rows)} least sure of {len(search.predictions)} rows", box=None)
    for heading in HEADINGS:
        grid.add_column(heading, justify="left" if heading in {"hints", "fusion"} else "right")
    for line in search.table():
        grid.add_row(*line, style="bold" if line[0].startswith("→") else None)
    Console().print(grid)
    say(search.meaning)
