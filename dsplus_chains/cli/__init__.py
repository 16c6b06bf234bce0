"""The `dsplus` command. Each command has its own module. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import typer

from dsplus_chains.cli.bootstrap_command import bootstrap
from dsplus_chains.cli.demo_command import demo
from dsplus_chains.cli.evaluate_command import evaluate
from dsplus_chains.cli.fit_command import fit
from dsplus_chains.cli.label_command import label
from dsplus_chains.cli.learn_command import learn
from dsplus_chains.cli.run_command import run
from dsplus_chains.cli.tune_command import tune
from dsplus_chains.cli.watch_command import watch

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


app.command(name="demo")(demo)
app.command(name="fit")(fit)
app.command(name="tune")(tune)
app.command(name="evaluate")(evaluate)
app.command(name="run")(run)
app.command(name="bootstrap")(bootstrap)
app.command(name="learn")(learn)
app.command(name="label")(label)
app.command(name="watch")(watch)
