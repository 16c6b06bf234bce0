"""What killed processes have left is removed. What living ones write, and what belongs to others, stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dsplus_chains.storage.files import replacing_file, replacing_folder

SAVES = """
import sys
from pathlib import Path
from dsplus_chains.storage.files import replacing_file, replacing_folder
kind = replacing_folder if sys.argv[2] == "folder" else replacing_file
with kind(Path(sys.argv[1])) as partial:
    (partial / "half" if partial.is_dir() else partial).write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def save(path, kind):
    if kind == "folder":
        with replacing_folder(path) as partial:
            (partial / "whole").write_text("whole")
    else:
        with replacing_file(path) as partial:
            partial.write_text("whole")


LEFT = [
    (".b.partial-0123abcd", "folder", True), (".b.partial-0123abcd", "file", True), (".b.partial-x", "full", True),
    (".b.partial-", "file", True), (".b.partial-a b", "full", True), (".b.partial", "file", False),
    ("b.partial-0123abcd", "folder", False), (".c.partial-0123abcd", "folder", False), (".bb.partial-1", "file", False),
    (".b.partial-link", "link", False), (".b", "file", False), ("b.txt", "file", False), (".b.other-1", "full", False),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize(("name", "what", "goes"), LEFT)
def test_only_what_a_save_has_left_is_removed(tmp_path, kind, name, what, goes):
    left = tmp_path / name
    if what == "link":
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious" / "file").write_text("mine")
        left.symlink_to(tmp_path / "precious")
    elif what == "file":
        left.write_text("half")
    else:
        left.mkdir()
        if what == "full":
            (left / "inside").write_text("half")
    save(tmp_path / "b", kind)
    assert os.path.lexists(left) is not goes
    assert (tmp_path / "b").exists()
    if what == "link":
        assert (tmp_path / "precious" / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["b", "b[1]", "b*", "b?", ".b", "b c", "ü"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_process_that_lives_is_left_alone_and_what_a_killed_one_left_is_cleaned(tmp_path, kind, name):
    path = tmp_path / name
    other = subprocess.Popen(
        [sys.executable, "-c", SAVES, path, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "writing\n"
    (partial,) = tmp_path.iterdir()
    save(path, kind)
    assert partial.exists()
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert partial.exists()
    save(path, kind)
    assert [left.name for left in tmp_path.iterdir()] == [name]
