"""`dsplus label`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from dsplus_chains.cli.console import AllowDownload, BundleFolder, Pin, Quiet, say, user_errors
from dsplus_chains.cli.experience_options import ExperienceFile, Images, images_beside, open_experience
from dsplus_chains.schema import brief, for_people, percent

if TYPE_CHECKING:
    from dsplus_chains.learning.doubting import Doubt

QUIT = "q"
SHOW = "?"


def label(
    bundle: BundleFolder,
    experience: ExperienceFile,
    n: Annotated[int, typer.Option("--n", min=1, help="How many inputs are shown.")] = 100,
    images: Images = None,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    quiet: Quiet = False,
) -> None:
    """Give true labels to the inputs of which both models together are least sure.

    [bold]dsplus label intents --experience intents.sqlite --n 50[/bold]

    [bold]dsplus label digits --experience digits.sqlite --images photos[/bold]: of each image, the path is shown.

    Type the number of a label, or the label if it is a number. Enter skips an input, ? shows the labels, and q ends.
    Each label is kept at once. So the same command goes on where you ended. What the models said is shown after your
    answer, so that it does not sway you.
    """
    with user_errors():
        from dsplus_chains.learning.doubting import least_sure
        from dsplus_chains.learning.experience import LABELLED_BY_DOUBT
        from dsplus_chains.storage.bundle import Bundle

        loaded = Bundle.load(bundle, expected_sha256=sha256, allow_download=allow_download)
        labels = loaded.scorer.labels
        seen = images_beside(images, loaded.scorer.modality)
        with open_experience(experience) as store:
            with nullcontext() if quiet else Console(stderr=True).status("Looking for doubtful inputs"):
                found = least_sure(loaded, store, n, images=seen)
            if not found:
                say("No answer of the large model waits for a true label.")
                return
            signs = _signs(labels)
            typed = typer.get_text_stream("stdin")  # another stream would miss what this one read
            _show(signs)
            given = 0
            for number, doubt in enumerate(found, start=1):
                say(f"\n{number} of {len(found)}: {for_people(doubt.row.text)}")
                told = _answer(signs, typed)
                if told == QUIT:
                    break
                if told is not None:
                    store.attach(doubt.row, signs[told], origin=LABELLED_BY_DOUBT)
                    given += 1
                    say(_views(signs[told], doubt))
            total = sum(row.gold is not None for row in store.rows())
            labels_are = "label is" if total == 1 else "labels are"
            say(f"Given now: {given}. In all, {total} {labels_are} in {experience}. `dsplus learn` learns from them.")


def _signs(labels: Sequence[Any]) -> dict[str, Any]:
    """What is typed for each label. A label that is a number is typed as itself. Each other one has a free number."""
    signs = {str(label): label for label in labels if _number(label) is not None}
    taken = {_number(label) for label in signs.values()}
    free = (str(number) for number in count(1) if number not in taken)
    signs |= {next(free): label for label in labels if _number(label) is None}
    return dict(sorted(signs.items(), key=lambda item: Decimal(item[0])))


def _number(label: Any) -> Decimal | None:
    """The number that a label is, also if it is a text. None if it is none."""
    try:
        number = Decimal(str(label))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _show(signs: Mapping[str, Any]) -> None:
    say("\n".join(sign if sign == str(name) else f"{sign}  {name}" for sign, name in signs.items()))
    say(f"Type a number. Enter skips, {SHOW} shows this list, {QUIT} ends.")


def _answer(signs: Mapping[str, Any], typed: TextIO) -> str | None:
    """The sign of a label, the sign that ends, or None to skip. The end of the input ends, too."""
    wanted = _wanted([*signs])
    while True:
        typer.echo("> ", nl=False)
        line = typed.readline()
        told = line.strip()
        if not line or told == QUIT:
            return QUIT
        if not told:
            return None
        if told in signs:
            return told
        if told == SHOW:
            _show(signs)
        else:
            say(f"Got {told!r} but expected {wanted}, Enter or {QUIT}.")


def _wanted(signs: Sequence[str]) -> str:
    """What may be typed."""
    numbers = [number for sign in signs if str(number := int(Decimal(sign))) == sign]
    if len(numbers) < len(signs):
        return f"one of {brief(signs)}"
    in_a_row = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"a number from {numbers[0]} to {numbers[-1]}" if in_a_row else f"one of {brief(numbers)}"


def _views(label: Any, doubt: Doubt) -> str:
    """What the models said, for somebody who has answered."""
    both = f"{doubt.both.label} ({percent(doubt.both.confidence)})"
    return (
        f"{label}. The small model says {doubt.small.label} ({percent(doubt.small.confidence)}), the large one "
        f"{doubt.large}, both together {both}."
    )
