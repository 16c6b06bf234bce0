"""The `dsplus` command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dsplus_chains.schema import DSPlusError

app = typer.Typer(
    name="dsplus",
    help="A small model answers what it is sure of, the large model gets the rest (Data Shunt+).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """A small model answers what it is sure of, the large model gets the rest (Data Shunt+)."""


@app.command()
def demo(
    large: Annotated[
        str, typer.Option(help='The large model: "smollm2" (embedded, no key needed) or "openai:NAME".')
    ] = "smollm2",
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server, for --large openai:NAME.")] = None,
    encoder: Annotated[str, typer.Option(help='The small model\'s encoder: "auto", a hub name, or a folder.')] = "auto",
    train: Annotated[int, typer.Option(min=20, help="Labelled sentences for the small model.")] = 60,
    test: Annotated[int, typer.Option(min=20, help="Sentences to count on.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the plot.")] = Path("dsplus-demo"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Share real review sentences between a small and a large model, and count what came of it.

    [bold]dsplus demo[/bold]: both models are embedded; nothing leaves this machine but downloads with your own pip.

    [bold]dsplus demo --large openai:gpt-4o-mini[/bold]: with a model behind an API, key from OPENAI_API_KEY.

    [bold]dsplus demo --large openai:qwen --base-url http://localhost:8000/v1[/bold]: with a server of your own.
    """
    console, errors = Console(), Console(stderr=True)
    try:
        from dsplus_chains.demo.reviews import load_reviews
        from dsplus_chains.demo.run import DemoSettings, run_demo
        from dsplus_chains.demo.show import outcome_sentences, outcome_table, save_plot

        with nullcontext() if quiet else console.status("Fetching and loading"):
            sentences = load_reviews()
            model = _large_model(large, base_url)
        with _progress(console, quiet) as progress:

            def track(rows: Iterable[Any], title: str, total: int) -> Iterable[Any]:
                return progress.track(rows, total=total, description=title)

            settings = DemoSettings(train=train, test=test, seed=seed)
            outcome = run_demo(sentences, model, settings, encoder=encoder, track=track)
        console.print(outcome_table(outcome))
        for sentence in outcome_sentences(outcome):
            console.print(sentence, highlight=False)
        plot = out / "cost_accuracy.png"
        save_plot(outcome, plot)
        console.print(f"The cost/accuracy curve is in {plot}", highlight=False)
    except (DSPlusError, ImportError, ValueError) as error:
        errors.print(f"dsplus: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from error


def _large_model(name: str, base_url: str | None) -> Any:
    if name == "smollm2":
        from dsplus_chains.demo.weights import load_smollm2

        return load_smollm2()
    provider, _, model = name.partition(":")
    if provider != "openai" or not model:
        msg = f'Got --large {name!r} but expected "smollm2" or "openai:NAME"'
        raise ValueError(msg)
    from langchain_openai import ChatOpenAI

    # A server of one's own usually wants no key, but the client insists on one.
    key = os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
    if key is None:
        msg = "Got no OPENAI_API_KEY in the environment; set it, or name a server of your own with --base-url"
        raise ValueError(msg)
    settings: dict[str, Any] = {"model": model, "base_url": base_url, "api_key": key, "temperature": 0}
    return ChatOpenAI(**settings)


def _progress(console: Console, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=quiet)
