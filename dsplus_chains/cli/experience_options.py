"""The experience of a chain, and labelled rows, as commands take them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dsplus_chains.encoding.modality import Modality

if TYPE_CHECKING:
    from dsplus_chains.learning.experience_store import ExperienceStore
    from dsplus_chains.tables.table import Column

ExperienceFile: TypeAlias = Annotated[
    Path, typer.Option("--experience", metavar="FILE", help="The experience of the chain, as ExperienceStore keeps it.")
]
Gold: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A table of labelled rows, in the formats of `dsplus fit --data`.")
]
GoldText: TypeAlias = Annotated[
    str | None, typer.Option(metavar="COL", help="The column of --gold with the texts, or with paths of images.")
]
GoldTexts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--gold-text",
        metavar="COL",
        help="The column of --gold with the texts, or with paths of images. Give it twice for pairs of texts. Default: "
        "the bundle's own two, or else text or image.",
    ),
]
Images: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="For a small model of images: a folder with those that the chain was called with. It may hold others. "
        "The experience keeps only their hashes.",
    ),
]
GoldLabel: TypeAlias = Annotated[str | None, typer.Option(metavar="COL", help="The column of --gold with the labels.")]


@contextmanager
def open_experience(path: Path) -> Iterator[ExperienceStore]:
    """The store in a file. Unlike the store itself, it makes no file.

    Raises:
        InvalidInputError: There is no such file, or SQLite cannot read or write it.
    """
    from dsplus_chains.schema import InvalidInputError

    if not path.is_file():
        msg = f"Got --experience {path} but there is no such file; data_shunt(..., experience=store) records decisions"
        raise InvalidInputError(msg)
    with new_experience(path) as store:
        yield store


@contextmanager
def new_experience(path: Path) -> Iterator[ExperienceStore]:
    """As `open_experience`, but the file is made if it is missing.

    Raises:
        InvalidInputError: SQLite cannot read or write it.
    """
    from dsplus_chains.learning.experience_store import ExperienceStore
    from dsplus_chains.schema import InvalidInputError

    try:
        with ExperienceStore(path) as store:
            yield store
    except InvalidInputError:
        raise
    except sqlite3.Error as error:
        msg = f"Got {path}, which SQLite cannot go on with ({error}); is it damaged or locked, or the disk full?"
        raise InvalidInputError(msg) from error


def images_beside(folder: Path | None, modality: Modality) -> Iterable[Any] | None:
    """The images in a folder, for a small model that reads images.

    Raises:
        InvalidInputError: It reads images and there is no folder, or it reads texts and there is one.
    """
    from dsplus_chains.encoding.image_reading import images_in
    from dsplus_chains.schema import InvalidInputError

    if (folder is None) == (modality == "image"):
        hint = "name the folder with those that the chain was called with" if folder is None else "leave it out"
        msg = f"Got --images {folder} but the small model reads {modality}s; {hint}"
        raise InvalidInputError(msg)
    return None if folder is None else images_in(folder)


def read_gold(
    path: Path | None,
    text: Column | None,
    label: str | None,
    *,
    known: Sequence[Any] | None = None,
    modality: Modality = "text",
) -> tuple[list[str], list[Any]] | None:
    """Labelled texts or images, and their labels. None without a file.

    Args:
        path: The table.
        text: The column with the texts, or the two columns of pairs.
        label: The column with the labels.
        known: The labels, if they are known already.
        modality: What is in the column: texts, or paths of images relative to the table.

    Raises:
        InvalidInputError: There is a file, and a column is not named.
        TableError: The file is unreadable, or holds no such column.
    """
    if path is None:
        return None
    from dsplus_chains.schema import InvalidInputError
    from dsplus_chains.tables.reading import read_table

    if text is None or label is None:
        msg = f"Got --gold {path} without its columns but expected --gold-text and --gold-label"
        raise InvalidInputError(msg)
    table = read_table(path)
    return table.texts(text, modality=modality), table.labels(label, known=known)
