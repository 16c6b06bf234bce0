"""`dsplus demo`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dsplus_chains.cli.console import Quiet, Seed, progress_bar, user_errors
from dsplus_chains.cli.large_options import BaseUrl, large_model


def demo(
    large: Annotated[
        str,
        typer.Option(
            help='The large model: "smollm2" (embedded, no key needed), "openai:NAME", or a name that LangChain knows.'
        ),
    ] = "smollm2",
    base_url: BaseUrl = None,
    encoder: Annotated[str, typer.Option(help='The small model\'s encoder: "auto", a hub name, or a folder.')] = "auto",
    train: Annotated[int, typer.Option(min=20, help="Labelled sentences for the small model.")] = 60,
    test: Annotated[int, typer.Option(min=20, help="Sentences to test on.")] = 240,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for the plot.")] = Path("dsplus-demo"),
    quiet: Quiet = False,
) -> None:
    """Share real review sentences between a small and a large model, and show the result.

    [bold]dsplus demo[/bold]: both models are embedded. Nothing but downloads with your own pip leaves this machine.

    [bold]dsplus demo --large openai:gpt-4o-mini[/bold]: with a model behind an API. The key is in OPENAI_API_KEY.

    [bold]dsplus demo --large openai:qwen --base-url http://localhost:8000/v1[/bold]: with a server of your own.
    """
    # torch reads this when it starts its threads. Waiting threads then give up their core. On a busy machine, this
    # halves the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console = Console()
    with user_errors():
        from dsplus_chains.demo.reviews import load_reviews
        from dsplus_chains.demo.run import DemoSettings, run_demo
        from dsplus_chains.demo.show import outcome_sentences, outcome_table, save_plot
        from dsplus_chains.evaluation.plots import check_plots
        from dsplus_chains.storage.files import check_place

        check_place(out, folder=True)
        check_plots()
        with nullcontext() if quiet else console.status("Fetching and loading"):
            sentences = load_reviews()
            model = large_model(large, base_url)
        with progress_bar(console, quiet=quiet) as progress:

            def track(rows: Iterable[Any], title: str, total: int) -> Iterable[Any]:
                for done, row in enumerate(rows, start=1):
                    yield row
                    progress(title, done, total)

            settings = DemoSettings(train=train, test=test, seed=seed)
            outcome = run_demo(sentences, model, settings, encoder=encoder, track=track)
        console.print(outcome_table(outcome))
        for sentence in outcome_sentences(outcome):
            console.print(sentence, highlight=False)
        plot = out / "cost_accuracy.png"
        save_plot(outcome, plot)
        console.print(f"The cost/accuracy curve is in {plot}", highlight=False)
