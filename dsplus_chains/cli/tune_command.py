"""`dsplus tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from dsplus_chains.cli.console import (
    CONCURRENCY,
    AllowDownload,
    BundleFolder,
    Data,
    Json,
    Labels,
    Pin,
    Quiet,
    Text,
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
    Timeout,
    check_source,
    large_model,
    settings_of,
)
from dsplus_chains.cli.ways import AUTO, set_coverage_of, ways_to_ask
from dsplus_chains.running.limits import Limits
from dsplus_chains.running.progress import in_batches
from dsplus_chains.schema import share

if TYPE_CHECKING:
    from dsplus_chains.task import LabelTask
    from dsplus_chains.tuning.hint_search import HintSearch


class Objective(StrEnum):
    """What the threshold is chosen for."""

    ACCURACY = "accuracy"
    MATCH_LARGE = "match_large"
    MAX_ESCALATION = "max_escalation"
    MAX_COST = "max_cost"
    MAX_RISK = "max_risk"


class Fusion(StrEnum):
    """Who has the last word on a deferred input."""

    REPLACE = "replace"
    POSTERIOR = "posterior"
    AUTO = "auto"


class Hints(StrEnum):
    """What the large model is told about the small model's view."""

    NONE = "none"
    SOFT = "soft"
    HARD = "hard"
    AUTO = "auto"


def tune(
    bundle: BundleFolder,
    data: Data,
    text: Text,
    label: Labels,
    large_column: LargeColumn = None,
    large: Large = None,
    base_url: BaseUrl = None,
    answer_file: AnswerFile = None,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    timeout: Timeout = 60.0,
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
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Choose the threshold on labelled rows, and store it in the bundle.

    Use rows that the small model was not fitted on.

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
        check_source(large, large_column)
        if max_tokens is not None:
            _check_budget(large_column, objective, max_risk)
        from dsplus_chains.tables.reading import read_table

        table = read_table(data)
        texts = table.texts(text)
        model = None if large is None else large_model(large, base_url, answer_file, timeout=timeout)
        from dsplus_chains.evaluation.recorded import read_recorded
        from dsplus_chains.storage.bundle import Bundle
        from dsplus_chains.storage.bundle_files import read_manifest
        from dsplus_chains.tuning.live import ask_live
        from dsplus_chains.tuning.threshold_tuning import tune_threshold

        loaded = Bundle.load(bundle, expected_sha256=sha256, allow_download=allow_download)
        if reask is not None:
            loaded = loaded.with_task(reask=reask)
        labels = table.labels(label, known=loaded.scorer.labels)
        modes, counts = ways_to_ask(loaded.task, hints, exemplars, live=model is not None)
        search: HintSearch | None = None
        sure: list[float | None] | None = None
        asked = len(texts)
        with progress_bar(quiet=quiet) as progress:
            if large_column is not None:
                parser = loaded.task.parser
                recorded = read_recorded(table.cells(large_column), parser, where=f"column {large_column!r}")
                answers = [answer.value for answer in recorded]
                scored = in_batches(loaded.scorer, texts, title="Scoring", progress=progress)
                predictions = [record["prediction"] for record in scored]
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
                chosen, search, predictions = (
                    replace(loaded, task=live.task),
                    live.search,
                    list(live.search.predictions),
                )
                answers, sure, asked = live.answers, live.confidences, live.asked
        if asked < len(texts):  # what was not asked about must not be deferred
            max_escalation = min(asked / len(texts), 1.0 if max_escalation is None else max_escalation)
        tuned = tune_threshold(
            predictions,
            labels,
            answers,
            objective=objective.value,
            max_escalation=max_escalation,
            max_cost=max_cost,
            max_risk=max_risk,
            delta=delta,
            large_cost=large_cost,
            fusion=fusion.value,
            large_confidences=sure,
            set_coverage=set_coverage_of(chosen.task),
            max_ood_score=None if loaded.tuned is None else loaded.tuned.max_ood_score,
            model_hash=read_manifest(bundle).scorer_sha256,
        )
        pin = chosen.with_tuned(tuned, large=settings_of(large, base_url, large_column, data)).save(bundle)
        tried = search is not None and search.tried_several
        if json is not None:
            ablation = {"ablation": search.to_dict()} if search is not None and tried else {}
            write_json(json, {**tuned.to_dict(), **ablation})
        if search is not None and tried:
            _show(search)
        elif large_column is not None and (hints, exemplars, reask) != (None, None, None):
            _say_what_was_logged(chosen.task)
        if exemplars == AUTO and loaded.task.examples is None:
            say("The bundle holds no examples to show, so none were tried.")
        _tell(chosen.task, answers, asked)
        say(f"{tuned.meaning}\nThe bundle is {bundle} (SHA-256 of its manifest: {pin}).")


def _say_what_was_logged(task: LabelTask) -> None:
    from dsplus_chains.tuning.hint_search import setting_name

    say(
        f"The chain will ask with {setting_name(task.hints, task.exemplars)}; the logged answers came from whatever "
        "prompt was used then. The threshold is right for that prompt."
    )


def _check_budget(large_column: str | None, objective: Objective, max_risk: float | None) -> None:
    """Refuse a budget where nothing is asked, or where every row has to be asked about.

    Raises:
        ValueError: This is the case.
    """
    if large_column is not None:
        msg = "Got --max-tokens with --large-column, which asks for nothing; leave it out"
        raise ValueError(msg)
    if objective in {Objective.MATCH_LARGE, Objective.MAX_RISK} or max_risk is not None:
        wants = "--max-risk" if max_risk is not None else f"--objective {objective.value}"
        msg = f"Got --max-tokens with {wants}, which needs the large model's answer to every row; leave one out"
        raise ValueError(msg)


def _tell(task: LabelTask, answers: Sequence[object], asked: int) -> None:
    """Say how many rows the large model did not answer, and whether hard hints have no effect."""
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
