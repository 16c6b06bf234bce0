"""Which columns of a table a bundle of pairs reads, without loading its encoder."""

from __future__ import annotations

import warnings
from pathlib import Path

from dsplus_chains.schema import DSPlusWarning, InvalidInputError
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.state import StoredScorer, scorer_files
from dsplus_chains.storage.bundle_files import SCORER_FILES, read_bundle


def check_pairs(scorer: BaseScorer, column: str | tuple[str, str], *, option: str = "--text") -> None:
    """Refuse one column for a small model of pairs. Warn where its own two come in the other order.

    Args:
        scorer: The small model.
        column: The column that it is to read, or the two columns of pairs.
        option: The option that names them.

    Raises:
        InvalidInputError: It reads pairs, and there is one column.
    """
    own = () if isinstance(scorer.input_key, str) else scorer.input_key
    named = " and ".join(map(repr, own))
    if scorer.pairs and isinstance(column, str):
        or_none = f", or leave it out for its own, {named}" if own else ""
        msg = (
            f"Got the column {column!r} but the small model reads pairs, and expected a pair of texts; give {option} "
            f"twice{or_none}"
        )
        raise InvalidInputError(msg)
    if own and column == own[::-1]:
        told = f"the small model was fitted on {named}, in this order, and reads them in the other one now"
        warnings.warn(f"{told}; leave {option} out, unless you mean it", DSPlusWarning, stacklevel=2)


def pair_columns(folder: Path, *, expected_sha256: str | None = None) -> tuple[str, str]:
    """The two columns that the small model of a bundle was fitted on, which are the keys of its inputs.

    Args:
        folder: The bundle's folder.
        expected_sha256: SHA-256 of the bundle's manifest.

    Raises:
        BundleError: The bundle cannot be read, or is another one.
        InvalidInputError: It knows no two columns.
    """
    _, contents = read_bundle(folder, expected_sha256=expected_sha256)
    settings, arrays = (contents.get(name, b"") for name in SCORER_FILES)
    told, _ = scorer_files(StoredScorer).unpack(settings, arrays, place=folder)
    if not told.classifier.pairs or isinstance(told.input_key, str):
        msg = (
            f"Got no column to read, and the bundle {str(folder)!r} names no two of its own; name it with --text, or "
            "with --image for images"
        )
        raise InvalidInputError(msg)
    first, second = told.input_key
    return first, second
