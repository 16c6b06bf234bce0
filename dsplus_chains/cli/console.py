"""What the commands share: options, progress bars, and one line for each error that a user can fix."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from dsplus_chains.encoding.modality import Modality
from dsplus_chains.running.progress import Progress
from dsplus_chains.schema import DSPlusError, DSPlusWarning, InvalidInputError, first_fault, hide_secrets, visible

if TYPE_CHECKING:
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.tables.table import Column

USER_ERROR = 2
"""The exit code of an error that the user can fix, such as a misspelled option."""

STOPPED = 130
"""The exit code of a command that was interrupted from the keyboard."""

CONCURRENCY = 16
"""Most requests to the large model at the same time."""

BundleFolder: TypeAlias = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
Pin: TypeAlias = Annotated[
    str | None,
    typer.Option("--sha256", metavar="HASH", help="Refuse the bundle unless its manifest has this SHA-256."),
]
AllowDownload: TypeAlias = Annotated[
    bool, typer.Option("--allow-download", help="Let an encoder that the bundle names be fetched from the hub.")
]
Data: TypeAlias = Annotated[
    Path, typer.Option(help="The table: .csv, .tsv, .txt (with tabs), .jsonl, .json, .parquet or .xlsx.")
]
Delimiter: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="CHAR", help='What stands between the fields of a text file, such as ";", or the word tab.'),
]
Encoding: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Encoding of a text file, such as cp1252. Default: UTF-8.")
]
Texts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="COL", help="The column with the texts. Give it twice for pairs of texts."),
]
Image: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--image", metavar="COL", help="In place of --text: the column with paths of images, relative to the table."
    ),
]
Labels: TypeAlias = Annotated[str, typer.Option(metavar="COL", help="The column with the labels.")]
Json: TypeAlias = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers to this file.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, max=(1 << 32) - 1, help="The same seed gives the same result.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars.")]


def check_instruction(instruction: str | None) -> None:
    """Refuse an empty instruction.

    Raises:
        InvalidInputError: It is one.
    """
    if instruction is not None and not instruction.strip():
        msg = f"Got --instruction {instruction!r} but expected what to decide, such as 'Which topic is it?'"
        raise InvalidInputError(msg)


def column_read(text: list[str] | None, image: str | None) -> tuple[Column, Modality]:
    """The column that the small model reads, or the two columns of a pair, and what is in it.

    Raises:
        InvalidInputError: There is none, there are too many, or one is named twice.
    """
    names = text or []
    if bool(names) == (image is not None):
        got = " ".join(map(repr, names)) or None
        msg = f"Got --text {got} and --image {image!r} but expected one of them, for what the small model reads"
        raise InvalidInputError(msg)
    return (image, "image") if image is not None else (text_columns("--text", names), "text")


def column_of(
    bundle: Path, text: list[str] | None, image: str | None, *, sha256: str | None
) -> tuple[Column, Modality]:
    """As `column_read`. If no column is named, a bundle of pairs tells the two that it was fitted on.

    Raises:
        InvalidInputError: As `column_read` says. Or no column is named, and the bundle knows none.
        BundleError: The bundle has to tell, and cannot be read.
    """
    if text or image is not None:
        return column_read(text, image)
    from dsplus_chains.storage.bundle_columns import pair_columns

    return pair_columns(bundle, expected_sha256=sha256), "text"


def text_columns(option: str, names: list[str]) -> Column:
    """The one column that an option names, or the two columns of a pair.

    Raises:
        InvalidInputError: There are more than two, or two equal ones.
    """
    match names:
        case [name]:
            return name
        case [first, second] if first != second:
            return first, second
    got = " ".join(f"{option} {name!r}" for name in names)
    msg = f"Got {got} but expected one column, or two different ones for pairs of texts"
    raise InvalidInputError(msg)


def load_bundle(
    folder: Path, *, sha256: str | None, allow_download: bool, column: Column, modality: Modality
) -> Bundle:
    """The bundle, if its small model reads what is in the table."""
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.storage.bundle_columns import check_pairs

    loaded = Bundle.load(folder, expected_sha256=sha256, allow_download=allow_download)
    loaded.scorer.check_reads(modality, pairs=not isinstance(column, str))
    check_pairs(loaded.scorer, column)
    return loaded


@contextmanager
def user_errors(*, stopped: str = "") -> Iterator[None]:
    """Turn errors that the user can fix into one line and exit code 2. Any other error keeps its traceback.

    Warnings of this package are one line each, on standard error.

    Args:
        stopped: What is told of a command that was interrupted, and what of its work is kept.
    """
    try:
        with _told_warnings():
            yield
    except KeyboardInterrupt as interrupt:
        told = f"{interrupt}." if str(interrupt) else f"stopped. {stopped}".strip()
        _print(f"{told[0].upper()}{told[1:]}", aside=True)
        raise typer.Exit(STOPPED) from None
    except (DSPlusError, ImportError, ValueError, OSError) as error:
        _complain(hide_secrets(_line(error)), style="red")
        raise typer.Exit(USER_ERROR) from error


@contextmanager
def _told_warnings() -> Iterator[None]:
    """Print each warning of this package once. Other warnings stay as they are."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", DSPlusWarning)
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, DSPlusWarning):
                show(message, category, *place, **more)
            elif str(message) not in told:
                told.add(str(message))
                _complain(f"warning: {' '.join(str(message).split())}", style="yellow")

        warnings.showwarning = tell
        yield


def say(text: str) -> None:
    """Print a sentence as it is. Escape codes in it are shown, and not obeyed."""
    _print(text)


@contextmanager
def progress_bar(console: Console | None = None, *, quiet: bool) -> Iterator[Progress]:
    """Show progress as bars, on standard error unless a console is given."""
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note)
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=console or Console(stderr=True), disable=quiet) as bars:

        def tell(title: str, done: int, total: int, note: str = "") -> None:
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=total, note=note)
            bars.update(tasks[title], completed=done, note=note)

        yield tell


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON. Missing folders are made."""
    from dsplus_chains.storage.files import replacing_file

    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="replace")


def _complain(text: str, *, style: str) -> None:
    _print(f"dsplus: {text}", aside=True, style=style)


def _print(text: str, *, aside: bool = False, style: str | None = None) -> None:
    """Print a sentence on standard output, or aside, on standard error."""
    Console(stderr=aside).print(visible(text), style=style, markup=False, highlight=False, soft_wrap=True, emoji=False)


def _line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return first_fault(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
