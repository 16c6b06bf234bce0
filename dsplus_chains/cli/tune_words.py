"""What `dsplus tune` prints about the answers of the large model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from dsplus_chains.cli.console import say
from dsplus_chains.cli.ways import AUTO, set_coverage_of
from dsplus_chains.schema import share

if TYPE_CHECKING:
    from dsplus_chains.cli.tune_answers import TuningAnswers
    from dsplus_chains.task import LabelTask
    from dsplus_chains.tuning.hint_search import HintSearch


def show_search(search: HintSearch, *, in_jobs: bool) -> None:
    """Print what each way to ask was worth, and which was taken."""
    grid = Grid(title=f"The {len(search.rows)} least sure of {len(search.predictions)} rows", box=None)
    for heading in search.headings:
        grid.add_column(heading, justify="left" if heading in {"hints", "fusion"} else "right")
    for line in search.table():
        grid.add_row(*line, style="bold" if line[0].startswith("→") else None)
    Console().print(grid)
    say(search.meaning)
    if in_jobs and search.best.usd_per_1000 is not None:
        say("These are prices of single requests. In jobs of the Batch API, half of them is paid.")


def say_what_was_logged(task: LabelTask) -> None:
    """Say that logged answers may come from another prompt."""
    from dsplus_chains.tuning.hint_cell import setting_name

    way = setting_name(task.hints, task.exemplars, task.group)
    say(
        f"The chain will ask with {way}; the logged answers came from whatever prompt was used then. The threshold is "
        "right for that prompt."
    )


def say_what_is_missing(heard: TuningAnswers, exemplars: str | None) -> None:
    """Say how many rows the large model did not answer, and whether exemplars or hard hints have no effect."""
    task, asked, n = heard.task, heard.asked, len(heard.answers)
    if exemplars == AUTO and task.examples is None:
        say("The bundle holds no examples to show, so none were tried.")
    if failed := heard.answers.count(None) - (n - asked):
        say(f"{failed} of {asked} rows have no answer of the large model. The small model answers there.")
    if asked < n:
        say(
            f"The large model was asked about {asked} of {n} rows, those of which the small one is least sure. The "
            f"budget was not enough for more. So at most {share(asked / n)} of inputs can be deferred."
        )
    if task.hints == "hard" and task.strong_labels is None and set_coverage_of(task) is None:
        say(f"Hard hints prune nothing here. A hint names up to {task.top_k} labels, and there are no more.")
