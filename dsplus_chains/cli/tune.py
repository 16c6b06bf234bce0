"""`dsplus tune`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from dsplus_chains.cli._console import (
    BundleFolder,
    Data,
    Json,
    Labels,
    Quiet,
    Text,
    in_batches,
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
    settings_of,
)


class Objective(StrEnum):
    """What a threshold is chosen for."""

    ACCURACY = "accuracy"
    MATCH_LARGE = "match_large"
    MAX_ESCALATION = "max_escalation"
    MAX_COST = "max_cost"
    MAX_RISK = "max_risk"


class Fusion(StrEnum):
    """Whose word is the last for a deferred input."""

    REPLACE = "replace"
    POSTERIOR = "posterior"
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
    objective: Annotated[Objective, typer.Option(help="What to optimise.")] = Objective.ACCURACY,
    max_escalation: Annotated[
        float | None, typer.Option(metavar="E", help="At most this share of rows goes to the large model.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="C", help="An input costs at most this, in the unit of --large-cost.")
    ] = None,
    large_cost: Annotated[
        float, typer.Option(metavar="C", help="What one call of the large model costs, in any unit.")
    ] = 1.0,
    max_risk: Annotated[
        float | None,
        typer.Option(metavar="A", help="The whole chain errs on at most this share of inputs: a guarantee."),
    ] = None,
    delta: Annotated[
        float, typer.Option(metavar="D", help="The chance, over the tuning rows, that the guarantee fails.")
    ] = 0.05,
    fusion: Annotated[
        Fusion, typer.Option(help="Whose word is the last: the large model's, both models', or whichever is better.")
    ] = Fusion.AUTO,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Choose the threshold on rows that the small model was not fitted on, and store it in the bundle.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large-column gpt[/bold]: on logged answers.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large openai:gpt-4o-mini --objective
    max_escalation --max-escalation 0.2[/bold]: the large model is asked about every row.

    [bold]dsplus tune intents --data dev.csv --text text --label label --large-column gpt --objective max_risk
    --max-risk 0.1 --delta 0.05[/bold]: with a guarantee.

    A bound given beside another objective is a constraint on it. Use the tuning rows once, and others to evaluate.
    """
    with user_errors():
        check_source(large, large_column)
        from dsplus_chains.tables.read import read_table

        table = read_table(data)
        texts = table.texts(text)
        model = None if large is None else large_model(large, base_url, answer_file)
        from dsplus_chains._bundle_files import read_manifest
        from dsplus_chains.bundle import Bundle
        from dsplus_chains.tuning.threshold import tune_threshold

        loaded = Bundle.load(bundle)
        labels = table.labels(label, known=loaded.scorer.labels)
        answers: list[Any]
        sure: list[float | None] | None = None
        if large_column is not None:
            recorded = recorded_answers(table, large_column, loaded.scorer.labels)
            answers = [answer.value for answer in recorded]
            records = in_batches(loaded.scorer, texts, "Scoring", quiet=quiet)
        else:
            everything = loaded.chain(model, threshold=None, fusion=None)
            records = in_batches(everything, texts, "Asking the large model", quiet=quiet)
            check_answered(records)
            answers = [answer_of(record) for record in records]
            sure = [record["large"].confidence for record in records]
        tuned = tune_threshold(
            [record["prediction"] for record in records],
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
            model_hash=read_manifest(bundle).scorer_sha256,
        )
        settings = settings_of(large, base_url, large_column, data)
        loaded.with_tuned(tuned, large=settings).save(bundle)
        if json is not None:
            write_json(json, tuned.to_dict())
        if failed := answers.count(None):
            say(f"{failed} of {len(answers)} rows have no answer of the large model; the small one stands in there.")
        say(tuned.meaning)
