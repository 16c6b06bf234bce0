"""`dsplus bootstrap`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dsplus_chains.cli.console import Image, Quiet, Seed, check_instruction, column_read, say, user_errors
from dsplus_chains.cli.experience_options import Gold, GoldLabel, GoldText, new_experience, open_experience, read_gold

if TYPE_CHECKING:
    from dsplus_chains.encoding.modality import Modality
    from dsplus_chains.learning.logs import Logs

SQLITE = b"SQLite format 3\0"
"""What every SQLite file begins with."""
A_FLUSH = 10_000
"""Number of answers that are written at once."""


def bootstrap(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOGS", help="Tables or exports, or the experience of an app. OpenAI's batches need both."
        ),
    ],
    instruction: Annotated[str, typer.Option(help="What the large model was asked to decide, in your own words.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder for the bundle. It replaces an earlier bundle.")],
    text: Annotated[
        str | None, typer.Option(metavar="COL|PATH", help="Where the texts are. Default: a usual name.")
    ] = None,
    image: Image = None,
    answer: Annotated[
        str | None, typer.Option(metavar="COL|PATH", help="Where the large model's answers are. Default: a usual name.")
    ] = None,
    gold: Gold = None,
    gold_text: GoldText = None,
    gold_label: GoldLabel = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="The labels. Default: those of --gold, or all answers that come twice."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME|PATH", help='The small model\'s encoder: "auto", a hub name, or a folder.')
    ] = "auto",
    examples: Annotated[
        bool, typer.Option(help="Keep texts in the bundle, to show some to the large model and to learn from.")
    ] = True,
    experience: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new file that keeps the answers, for `dsplus label` and `dsplus learn`."),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make a tuned bundle from what a large model has answered.

    [bold]dsplus bootstrap answers.csv --text body --answer gpt --instruction "Which topic is it?" --out topics[/bold]:
    without labelled rows. All figures are then agreement with the large model, which may be wrong.

    [bold]dsplus bootstrap runs.jsonl --gold gold.csv --gold-text text --gold-label label --instruction "Which topic is
    it?" --out topics[/bold]: an export of LangSmith, Langfuse or OpenAI's batches. It must hold 50
    of the labelled texts or more.

    [bold]dsplus bootstrap digits.csv --image path --answer gpt --instruction "Which digit is it?" --out digits[/bold]:
    images. The bundle keeps none.

    [bold]dsplus bootstrap answers.sqlite --instruction "Which topic is it?" --out topics[/bold]: what record_answers
    has kept, and the true labels in it if there are 50 or more.

    [bold]dsplus bootstrap answers.csv --text body --answer gpt --instruction "Which topic is it?" --out topics
    --experience topics.sqlite[/bold], then [bold]dsplus label topics --experience topics.sqlite[/bold]: true labels
    for the least sure of these texts. Then give topics.sqlite in place of answers.csv.

    Without --gold-text and --gold-label, the columns of --gold are called what --text or --image and --answer say.
    """
    with user_errors():
        from dsplus_chains.learning.bootstrapping import bootstrap as make
        from dsplus_chains.learning.logs import read_logs
        from dsplus_chains.schema import each_once
        from dsplus_chains.storage.bundle_files import check_target
        from dsplus_chains.storage.outputs_apart import check_outputs

        check_instruction(instruction)
        check_target(out.resolve())
        check_outputs(experience, inputs=(*logs, gold), bundles=[out])
        if experience is not None:
            _check_new(experience, image)
        if image is not None:
            column_read(None if text is None else [text], image)
        modality: Modality = "text" if image is None else "image"
        column = text if image is None else image
        labelled = read_gold(gold, gold_text or column, gold_label or answer, modality=modality)
        known = None if labelled is None else each_once(labelled[1])
        names = known if labels is None else _named(labels, known)
        found: Any
        if _is_database(logs[0]) and len(logs) == 1:
            with open_experience(logs[0]) as store:
                found = list(store.rows())
            unread = sum(row.large is None for row in found)
            say(f"{len(found)} decisions are kept; {unread} of them have no answer of the large model.")
        else:
            found = read_logs(logs, text=column, answer=answer, labels=names, modality=modality)
            _tell(found)
        where = Path(encoder)
        with nullcontext() if quiet else Console(stderr=True).status(f"Fitting on {len(found)} rows"):
            bundle = make(
                found,
                labelled,
                instruction=instruction,
                labels=names,
                modality=modality,
                encoder=str(where.resolve()) if where.is_dir() else encoder,
                keep_examples=examples,
                seed=seed,
            )
            pin = bundle.save(out)
        rows, n_labels = bundle.metadata["rows"], len(bundle.scorer.labels)
        learned = bundle.metadata.get("learned")
        if learned is None:
            say(
                f"Fitted on {rows} answers of the large model with {n_labels} labels. No row has a true label, so "
                "every figure is agreement with the large model."
            )
        else:
            say(
                f"Fitted on {rows} labelled rows with {n_labels} labels, and on {learned['stream']} others, of which "
                f"{learned['large_answers']} have an answer of the large model."
            )
        say("There are too few rows to choose a threshold." if bundle.tuned is None else bundle.tuned.meaning)
        say(f"The bundle is {out} (SHA-256 of its manifest: {pin}).")
        if experience is not None:
            _keep(found, experience)


def _named(option: str, known: Sequence[Any] | None) -> list[Any]:
    """The labels of `--labels`. Labelled rows tell of what type they are.

    Raises:
        InvalidInputError: No labelled row has one of them.
    """
    from dsplus_chains.schema import InvalidInputError, brief, label_reader, spelling

    names = [spelling(name) for name in option.split(",") if spelling(name)]
    if known is None:
        return names
    read = label_reader(known)
    if missing := [name for name in names if read(name) is None]:
        msg = f"Got no labelled row of {missing[:5]} but expected some of each label; --gold has {brief(list(known))}"
        raise InvalidInputError(msg)
    return [read(name) for name in names]


def _check_new(experience: Path, image: str | None) -> None:
    """Refuse a store that is there, or one of images.

    Raises:
        InvalidInputError: This is the case.
    """
    from dsplus_chains.schema import InvalidInputError

    if experience.exists():
        msg = (
            f"Got --experience {experience} but there is such a file; name a new one, or give this one in place of the "
            "logs if they are in it"
        )
        raise InvalidInputError(msg)
    if image is not None:
        msg = "Got --experience and --image but expected texts; the experience of a chain keeps images by their hashes"
        raise InvalidInputError(msg)


def _keep(found: Any, experience: Path) -> None:
    """Keep the answers in a store."""
    from dsplus_chains.learning.decisions import decisions_in

    with new_experience(experience) as store:
        for number, row in enumerate(decisions_in(found), start=1):
            if row.text is not None and row.large is not None:
                store.answered(row.text, row.large, confidence=row.large_confidence)
            if number % A_FLUSH == 0:
                store.flush()  # so that no row is too many to wait


def _is_database(path: Path) -> bool:
    """Whether a file is an SQLite file, as an `ExperienceStore` keeps it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def _tell(logs: Logs) -> None:
    """Say how much of the logs is used."""
    unread = sum(answer is None for answer in logs.answers)
    left_out = "none was left out"
    if logs.skipped:
        left_out = f"{len(logs.skipped)} others were left out, the first because of this: {logs.skipped[0]}"
    say(f"{len(logs)} rows have a text; {left_out}. {unread} of them have no answer that can be read.")
