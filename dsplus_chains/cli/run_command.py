"""`dsplus run`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dsplus_chains.cli.console import (
    CONCURRENCY,
    AllowDownload,
    BundleFolder,
    Data,
    Delimiter,
    Encoding,
    Image,
    Pin,
    Quiet,
    Texts,
    column_of,
    progress_bar,
    say,
    user_errors,
)
from dsplus_chains.cli.large_options import (
    BaseUrl,
    BatchApi,
    Large,
    LargeColumn,
    Plan,
    Timeout,
    check_batch_api,
    check_name,
    check_source,
    large_model,
    say_plan,
)
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.schema import share

TOO_MANY_FALLBACKS = 3
"""The exit code of a run in which the large model failed at more rows than `--max-fallback-rate` allows."""


class Engine(StrEnum):
    """Where rows are scored."""

    LOCAL = "local"
    RAY = "ray"


def run(
    bundle: BundleFolder,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The output: .csv, .tsv, .jsonl or .parquet.")],
    text: Texts = None,
    image: Image = None,
    large: Large = None,
    base_url: BaseUrl = None,
    large_column: LargeColumn = None,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    retry_fallbacks: Annotated[
        bool, typer.Option("--retry-fallbacks", help="Ask again about rows that the large model failed at.")
    ] = False,
    batch_api: BatchApi = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000_000,
            help="Rows in one batch. Without it 64, times the rows in one prompt if the bundle asks in groups, and "
            "50,000 with --batch-api.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=100_000, help="Most requests to the large model at the same time.")
    ] = CONCURRENCY,
    timeout: Timeout = TIMEOUT,
    engine: Annotated[
        Engine,
        typer.Option(help='Where rows are scored: in this process, or with "ray" in --workers of Ray.'),
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --engine ray: number of processes, one processor each.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help='With --engine ray: a cluster that is running, as HOST:PORT, or "auto" for that of this machine. '
            "Without it, Ray is begun on this machine.",
        ),
    ] = None,
    max_fallback_rate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="End with exit code 3 if the large model fails at more than this share of the deferred rows. The "
            "output is written all the same.",
        ),
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    plan: Plan = False,
    quiet: Quiet = False,
) -> None:
    """Label a file.

    The output has the input's columns, the answer, its source, the small model's confidence and the error.

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:gpt-4o-mini[/bold]

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:qwen --base-url
    http://localhost:8000/v1 --retry-fallbacks[/bold]

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:gpt-4o-mini --batch-api[/bold]

    [bold]dsplus run intents --data in.csv --text text --out out.csv --large openai:gpt-4o-mini --engine ray
    --workers 8[/bold]

    If a run ends early, the same command continues it. Every reply is kept in a journal beside the output, as soon as
    it is there. No row that has an answer is asked about again. The output is written at the end. Rows are read and
    scored while others are asked about, and few of them are in memory at a time.

    If the bundle asks in groups, rows have no time limit of their own, but each request has. Groups are made of the
    deferred rows of a batch. So larger batches save more, but a kill finds more rows under way. Of these, a group may
    be asked about twice.

    With --engine ray, several processes score, on one machine or many. All else stays in this one, and so the output
    and the journal are the same. A run may be continued with the other engine.
    """
    with user_errors():
        asking = {"--plan": plan, "--base-url": base_url is not None, "--retry-fallbacks": retry_fallbacks}
        check_source(large, large_column, asking=asking)
        check_batch_api(large, batch_api=batch_api)
        _check_engine(engine, workers, cluster)
        column, modality = column_of(bundle, text, image, sha256=sha256)
        from dsplus_chains.corpus.foretelling import plan_table
        from dsplus_chains.corpus.job_state import jobs_path
        from dsplus_chains.corpus.labelling import label_table

        work: dict[str, Any] = {
            "text": column,
            "modality": modality,
            "out": out,
            "delimiter": delimiter,
            "encoding": encoding,
            "expected_sha256": sha256,
            "allow_download": allow_download,
            "large_name": large,
            "server": base_url,
            "retry_fallbacks": retry_fallbacks,
        }
        if plan:
            check_name(str(large))
            with progress_bar(quiet=quiet) as progress:
                foretold = plan_table(bundle, data, **work, progress=progress)
            say_plan(foretold)
            return
        jobs = jobs_path(out) if batch_api else None
        model: Any = None if large is None else large_model(large, base_url, jobs=jobs, timeout=timeout)
        with progress_bar(quiet=quiet) as progress:
            run = label_table(
                bundle,
                data,
                **work,
                large_model=model,
                large_column=large_column,
                in_jobs=batch_api,
                batch_size=batch_size,
                concurrency=concurrency,
                workers=workers,
                cluster=cluster,
                limits=Limits(timeout=timeout),
                progress=progress,
            )
        say(f"{run.rows:,} rows are in {out}: {run.counts}.")
        if run.first_fallback is not None:
            row = run.first_fallback
            advice = "" if large is None else "; --retry-fallbacks asks about them again"
            say(f"The first fallback is row {row.row + 1} ({row.error}){advice}.")
        rate = run.counts.fallback_rate
        if max_fallback_rate is not None and rate > max_fallback_rate:
            say(f"The large model failed at {share(rate)} of the deferred rows; --max-fallback-rate allows less.")
            raise typer.Exit(TOO_MANY_FALLBACKS)


def _check_engine(engine: Engine, workers: int | None, cluster: str | None) -> None:
    """Refuse Ray without workers, and what is for Ray alone.

    Raises:
        ValueError: This is the case.
    """
    if engine is Engine.RAY and workers is None:
        msg = "Got --engine ray without --workers but expected their number, one for each processor that may score"
        raise ValueError(msg)
    if engine is Engine.LOCAL and (workers is not None or cluster is not None):
        option = f"--workers {workers}" if cluster is None else f"--cluster {cluster}"
        msg = f"Got {option} without --engine ray, which alone has workers; add it, or leave this out"
        raise ValueError(msg)
