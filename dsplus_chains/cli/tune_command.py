"""`dsplus tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsplus_chains.cli.console import (
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
    BatchApi,
    Large,
    LargeColumn,
    Plan,
    Timeout,
    check_batch_api,
    check_source,
    large_or_plan,
    logged_in,
    priced_name,
    say_plan,
    settings_of,
    what_stays,
)
from dsplus_chains.cli.tune_answers import live_answers, logged_answers
from dsplus_chains.cli.tune_options import Fusion, Hints, Objective, as_options, check_budget, check_large_cost
from dsplus_chains.cli.tune_words import say_what_is_missing, say_what_was_logged, show_search
from dsplus_chains.cli.ways import set_coverage_of, ways_to_ask
from dsplus_chains.running.limits import TIMEOUT

if TYPE_CHECKING:
    from dsplus_chains.storage.bundle import Bundle


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
    batch_api: BatchApi = False,
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
    group: Annotated[
        str | None,
        typer.Option(
            metavar="K|auto",
            help="How many rows may share a prompt. That costs less, but a model may answer less well. auto (needs "
            "--large) tries it, and takes it only if it is shown to lose next to nothing. Default: the bundle's "
            "setting, which is 1 at first. Rows in groups have no time limit of their own.",
        ),
    ] = None,
    max_rows: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="For each way to ask, ask about at most N rows. Without it 100, and 400 with --group auto.",
        ),
    ] = None,
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

    With --batch-api, each way to ask is a job of its own. They are under way at the same time, unless there are
    --max-tokens. Then the other rows are one more job. Jobs are kept beside the bundle. If tune ends early, the same
    command finds them again, and pays for nothing twice.

    A bound given beside another objective is a constraint on it. An input that the bundle defers because it is far from
    all training examples (`max_ood_score`) stays deferred. Use the tuning rows only once, and other rows to evaluate.
    """
    with user_errors(stopped=what_stays(None if plan else large, answer_file, jobs=batch_api)):
        asking = {
            "--plan": plan,
            "--answers": answer_file is not None,
            "--base-url": base_url is not None,
            "--max-rows": max_rows is not None,
        }
        check_source(large, large_column, asking=asking)
        check_batch_api(large, batch_api=batch_api)
        column, modality = column_of(bundle, text, image, sha256=sha256)
        check_budget(max_tokens, large_column, objective, max_risk)
        from dsplus_chains.corpus.job_state import jobs_path
        from dsplus_chains.storage.bundle_files import read_manifest
        from dsplus_chains.storage.files import check_place
        from dsplus_chains.storage.outputs_apart import check_outputs
        from dsplus_chains.tables.reading import read_table

        jobs = jobs_path(bundle.resolve()) if batch_api else None
        check_outputs(json, answer_file, jobs, inputs=[data], bundles=[bundle])
        check_place(bundle, folder=True)
        table = read_table(data, delimiter=delimiter, encoding=encoding)
        texts = table.texts(column, modality=modality)
        from dsplus_chains.tuning.threshold_tuning import tune_threshold

        loaded = load_bundle(bundle, sha256=sha256, allow_download=allow_download, column=column, modality=modality)
        loaded = loaded if reask is None else loaded.with_task(reask=reask)
        labels = table.labels(label, known=loaded.scorer.labels)
        ways = ways_to_ask(loaded.task, hints, exemplars, group, live=large is not None)
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
        plan_for = loaded.task if plan else None
        model = large_or_plan(large, base_url, answer_file, jobs=jobs, timeout=timeout, plan_for=plan_for)
        with progress_bar(quiet=quiet) as progress:
            if large_column is not None:
                recorded = logged_in(table, large_column, loaded.task.parser)
                heard = logged_answers(loaded, texts, recorded, ways=ways, progress=progress)
            else:
                heard = live_answers(
                    loaded,
                    model,
                    texts,
                    labels,
                    ways=ways,
                    timeout=timeout,
                    in_jobs=batch_api,
                    fusion=fusion.value,
                    max_rows=max_rows,
                    max_tokens=max_tokens,
                    model_name=priced_name(large, base_url),
                    progress=progress,
                )
        if plan:
            say_plan(model, answer_file)
            return
        if heard.asked < len(texts):  # what was not asked about must not be deferred
            options["max_escalation"] = min(heard.asked / len(texts), 1.0 if max_escalation is None else max_escalation)
        tuned = tune_threshold(
            heard.predictions,
            labels,
            heard.answers,
            large_confidences=heard.confidences,
            set_coverage=set_coverage_of(heard.task),
            max_ood_score=None if loaded.tuned is None else loaded.tuned.max_ood_score,
            model_hash=read_manifest(bundle).scorer_sha256,
            texts=texts,
            **options,
        )
        chosen = replace(loaded, task=heard.task)
        tried = heard.search if heard.search is not None and heard.search.tried_several else None
        if tried is not None:
            show_search(tried, in_jobs=batch_api)
        elif large_column is not None and (hints, exemplars, group, reask) != (None,) * 4:
            say_what_was_logged(heard.task)
        say_what_is_missing(heard, exemplars)
        say(tuned.meaning)  # before any file is written, since it was paid for, and files may fail
        pin = chosen.with_tuned(tuned, large=settings_of(large, base_url, large_column, data)).save(bundle)
        say(f"The bundle is {bundle} (SHA-256 of its manifest: {pin}).")
        if json is not None:
            write_json(json, {**tuned.to_dict(), **({} if tried is None else {"ablation": tried.to_dict()})})


def _check_options(bundle: Bundle, texts: list[str], labels: Sequence[Any], options: dict[str, Any]) -> None:
    """Refuse what can't be had from these rows, before an answer is paid for."""
    from dsplus_chains.tuning.rehearsal import rehearse
    from dsplus_chains.tuning.row_origin import RowOrigin

    check_large_cost(options["large_cost"])
    with as_options(options):
        rehearse(labels, **options)
        if options["max_risk"] is not None:
            RowOrigin(training=tuple(bundle.scorer.training_of(texts))).check(guaranteed=True)
