"""The `dsplus` command: one module a command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import typer

from dsplus_chains.cli import demo, evaluate, fit, run, tune

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


app.command(name="demo")(demo.demo)
app.command(name="fit")(fit.fit)
app.command(name="tune")(tune.tune)
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="run")(run.run)
