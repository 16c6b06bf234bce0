"""`dsplus watch`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from dsplus_chains.cli.console import AllowDownload, BundleFolder, Json, Pin, say, user_errors, write_json
from dsplus_chains.cli.experience_options import ExperienceFile, open_experience
from dsplus_chains.schema import share, span

if TYPE_CHECKING:
    from dsplus_chains.learning.watching import Watch
    from dsplus_chains.tuning.tuned import Estimate


def watch(
    bundle: BundleFolder,
    experience: ExperienceFile,
    window: Annotated[int, typer.Option(min=1, help="Compare so many of the last decisions with those before.")] = 500,
    alpha: Annotated[
        float, typer.Option(metavar="A", help="Chance of an alarm in this report if nothing has changed.")
    ] = 0.01,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    json: Json = None,
) -> None:
    """Tell what has changed in a chain's traffic, and whether its confidence still holds.

    [bold]dsplus watch intents --experience intents.sqlite[/bold]

    No true labels are needed. Those that are in the experience check the confidence.
    """
    with user_errors():
        from dsplus_chains.learning.watching import watch as look
        from dsplus_chains.storage.bundle import Bundle
        from dsplus_chains.storage.outputs_apart import check_outputs

        check_outputs(json, inputs=[experience], bundles=[bundle])
        loaded = Bundle.load(bundle, expected_sha256=sha256, allow_download=allow_download)
        with open_experience(experience) as store:
            found = look(loaded, store, window=window, alpha=alpha)
        _show(found)
        if json is not None:
            write_json(json, found.to_dict())


def _show(found: Watch) -> None:
    since = datetime.fromtimestamp(found.since, UTC).isoformat(timespec="minutes")
    grid = Grid(title=f"The last {found.recent} decisions, since {since}, and the {found.before} before", box=None)
    for heading in ("", "before", "now", "p"):
        grid.add_column(heading, justify="right" if heading else "left")
    for name, change in found.changes.items():
        style = "bold red" if change.p_value <= found.level else None
        grid.add_row(name, _told(change.before), _told(change.recent), f"{change.p_value:.2g}", style=style)
    Console().print(grid)
    if found.others:
        say(f"{found.others} decisions of other small models are left out.")
    checked = found.calibration
    if checked.accuracy.n and not found.recalibration_due:
        say(
            f"The small model was right on {share(checked.accuracy.value)} of {checked.accuracy.n} labelled inputs. "
            f"Its confidence lets expect {span(checked.low, checked.high)}."
        )
    for alarm in found.alarms:
        say(alarm)
    if not found.alarms:
        say("Nothing has changed by more than chance explains.")


def _told(estimate: Estimate) -> str:
    return "unknown" if estimate.value is None else f"{share(estimate.value)} ({span(estimate.low, estimate.high)})"
