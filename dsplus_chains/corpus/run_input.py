"""What a run is of: the bundle, the table, and the places, checked before anything is answered."""

from __future__ import annotations

import json
from pathlib import Path

from dsplus_chains.corpus.answered import RunIdentity
from dsplus_chains.corpus.journal import journal_path
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import hash_of, hash_of_file, hide_secrets
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.storage.bundle_columns import check_pairs
from dsplus_chains.storage.bundle_files import read_manifest
from dsplus_chains.storage.outputs_apart import check_outputs
from dsplus_chains.tables.reading import open_table
from dsplus_chains.tables.table import Column, Table, check_column_names
from dsplus_chains.tables.table_error import TableError
from dsplus_chains.tables.writing import check_writable

ADDED = ("answer", "source", "confidence", "error")
"""The columns that the output has in addition to those of the input."""


def prepare_run(
    bundle: Path,
    data: Path,
    text: Column,
    out: Path,
    *,
    modality: Modality = "text",
    delimiter: str | None,
    encoding: str | None,
    large: str,
    server: str | None,
    expected_sha256: str | None = None,
    allow_download: bool = False,
) -> tuple[Bundle, Table, RunIdentity]:
    """The bundle, the table, and what a run over them is of. All of them are checked, and each text of the table too.

    Args:
        bundle: The bundle's folder.
        data: The table.
        text: The column with the texts, or with the paths of images. Two columns hold pairs of texts.
        out: The output.
        modality: What the small model reads. Of images, the run is that of their bytes.
        delimiter: What separates the fields of a text file.
        encoding: The encoding of a text file.
        large: The name of the large model.
        server: The address of its server.
        expected_sha256: SHA-256 of the bundle's manifest.
        allow_download: Whether an encoder may be fetched from the hub.

    Raises:
        DSPlusError: One of them cannot be used. The error says which, and what to do.
    """
    check_column_names(text)
    table = open_table(data, delimiter=delimiter, encoding=encoding)
    table.check_columns(text)
    _check_places(table, out)
    check_outputs(out, journal_path(out), inputs=[data], bundles=[bundle])
    content = hash_of_file(data)
    for found in table.each_text(text, empty="keep", modality=modality):  # refuses what is no text
        content = hash_of([content, found]) if modality == "image" else content
    identity = RunIdentity(
        bundle=read_manifest(bundle, expected_sha256=expected_sha256).sha256,
        input=hash_of([content, delimiter, encoding]) if delimiter or encoding else content,
        text=text if isinstance(text, str) else json.dumps(text),
        large=large,
        server=hide_secrets(server or ""),
    )
    loaded = Bundle.load(bundle, expected_sha256=identity.bundle, allow_download=allow_download)
    loaded.check_tuned()
    loaded.scorer.check_reads(modality, pairs=not isinstance(text, str))
    check_pairs(loaded.scorer, text)
    return loaded, table, identity


def _check_places(table: Table, out: Path) -> None:
    check_writable(out)
    if taken := [name for name in ADDED if name in table.columns]:
        msg = f"{table.path}: got the column {taken[0]!r}, which the output needs for itself; rename it"
        raise TableError(msg)
