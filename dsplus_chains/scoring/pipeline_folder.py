"""A classification pipeline of transformers in a folder, as its `save_pretrained` wrote it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from dsplus_chains.encoding.modality import Modality
from dsplus_chains.schema import BundleError, describe_error, hash_of, hash_of_file, shorten


def hash_of_folder(folder: Path) -> str:
    """One SHA-256 for the names and the content of all files in a folder. Hidden files and further folders don't count.

    Raises:
        BundleError: There is no file, or something is a link, a pipe or a device.
    """
    try:
        inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        kinds = {path: path.lstat().st_mode for path in inside}
        for path, kind in kinds.items():
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                msg = f"Got {str(path)!r}, which is a link, a pipe or a device, but expected a file; copy it there"
                raise BundleError(msg)
        hashes = [(path.name, hash_of_file(path)) for path, kind in kinds.items() if stat.S_ISREG(kind)]
    except OSError as error:
        raise BundleError(_missing(folder)) from error
    if not hashes:
        raise BundleError(_missing(folder))
    return hash_of(hashes)


def read_pipeline(folder: Path, *, modality: Modality, device: str | None) -> Any:
    """The pipeline in a folder. Nothing is fetched, and neither code nor pickles of the folder are read.

    Args:
        folder: The folder.
        modality: What it reads.
        device: Device of the model. None takes the best one available.

    Raises:
        BundleError: It cannot be read.
    """
    import transformers

    hf: Any = transformers  # partly untyped
    safe = {"local_files_only": True, "trust_remote_code": False}
    weights = {**safe, "use_safetensors": True}
    try:
        if modality == "image":
            model = hf.AutoModelForImageClassification.from_pretrained(folder, **weights)
            processor = hf.AutoImageProcessor.from_pretrained(folder, **safe)
            return hf.pipeline("image-classification", model=model, image_processor=processor, device=device)
        model = hf.AutoModelForSequenceClassification.from_pretrained(folder, **weights)
        tokenizer = hf.AutoTokenizer.from_pretrained(folder, **safe)
        return hf.pipeline("text-classification", model=model, tokenizer=tokenizer, device=device)
    except Exception as error:  # whatever is in the folder, or missing there
        msg = f"{_missing(folder)} ({shorten(describe_error(error), 300)})"
        raise BundleError(msg) from error


def _missing(folder: Path) -> str:
    return (
        f"Got {str(folder)!r}, which holds no readable pipeline, but expected what pipeline.save_pretrained(folder) "
        "writes, with its weights as safetensors"
    )
