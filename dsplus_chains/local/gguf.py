"""GGUF weights, converted once into a folder that transformers loads in a second."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dsplus_chains.storage.files import replacing_folder

EDGE = 1 << 20
"""How many bytes of a file's beginning and end go into its fingerprint."""


def fingerprint(path: Path) -> str:
    """A hash of a weights file's size, first MiB and last MiB. It tells files apart without reading gigabytes.

    Args:
        path: The file.

    Returns:
        Twelve hexadecimal digits.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(EDGE))
        file.seek(max(size - EDGE, 0))
        digest.update(file.read(EDGE))
    return digest.hexdigest()[:12]


def convert_gguf(path: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str]) -> Path:
    """Return the folder that holds a GGUF file's model and tokenizer in transformers' own format.

    transformers unpacks GGUF in plain Python, which takes 20 seconds for 135 million parameters. So it is done once.
    The folder appears whole or not at all. Two processes may convert at the same time.

    Args:
        path: The GGUF file.
        cache_dir: The folder for converted models. It is made if missing. Weights take 4 bytes a parameter there.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A package of the extra `local` is missing.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"Got path={str(path)!r} but there is no such file; give the path of a GGUF file"
        raise FileNotFoundError(msg)
    target = Path(cache_dir) / f"{file.stem}-{fingerprint(file)}"
    if target.is_dir():
        return target
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        msg = f"Reading GGUF weights needs {' and '.join(missing)}; run: pip install 'dsplus-chains[local]'"
        raise ImportError(msg)
    with replacing_folder(target, first_wins=True) as folder:
        _convert(file, folder)
    return target


def _convert(file: Path, folder: Path) -> None:
    import torch  # importing the package must not load torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dsplus_chains.encoding.quiet import no_progress_bar

    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with no_progress_bar():
        packed = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model read from GGUF counts as quantised and cannot be saved. But its weights are plain numbers by now.
    build: Any = AutoModelForCausalLM.from_config
    plain = build(config, dtype=torch.float32)
    plain.load_state_dict(packed.state_dict())
    plain.generation_config = packed.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
