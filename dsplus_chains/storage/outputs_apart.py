"""Outputs stand apart from what a command reads, from bundles, and from each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations, product
from pathlib import Path

from dsplus_chains.schema import BundleError, InvalidInputError
from dsplus_chains.storage.files import check_place


def check_outputs(
    *files: Path | None,
    inputs: Iterable[Path | None] = (),
    bundles: Sequence[Path] = (),
    folder: Path | None = None,
) -> None:
    """Refuse outputs that would damage something, and those that cannot be written, before any work is done.

    Args:
        *files: Files to be written. Here and below, None stands for none.
        inputs: Files that are read. A link to one is that file too.
        bundles: Folders of bundles, which are read or written. One holds only what `Bundle.save` puts there, and a save
            replaces it as a whole.
        folder: A folder to be written into. What else it holds stays.

    Raises:
        BundleError: A file or folder is in a bundle.
        InvalidInputError: An output is an input, or is in the place of another output. Or it cannot be written. See
            `check_place`.
    """
    named, read = _known(*files), _known(*inputs)
    outputs = [*_known(folder), *named]
    inside = [*product([*outputs, *read], bundles), *permutations(bundles, 2)]
    if damaged := next(((path, bundle) for path, bundle in inside if _is_in(path, bundle)), None):
        path, bundle = damaged
        msg = f"{path}: got a place inside the bundle {str(bundle)!r} but expected another; it would be damaged"
        raise BundleError(msg)
    for output in outputs:
        check_place(output, folder=output is folder)
    for output in named:
        if any(_is_in(path, output) for path in read):
            msg = f"{output}: got the input as the output too but expected another file; it would be overwritten"
            raise InvalidInputError(msg)
    for output, other in permutations(outputs, 2):
        if output in named and _is_in(other, output):
            msg = f"{output}: got one place for two outputs but expected one for each; name another file"
            raise InvalidInputError(msg)


def _known(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _is_in(path: Path, place: Path) -> bool:
    """Whether a path is that place itself, by whatever name, or below it."""
    try:
        if path.samefile(place):
            return True
    except OSError:  # one of them is not there yet
        pass
    return path.resolve().is_relative_to(place.resolve())
